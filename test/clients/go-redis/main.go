// go-redis with its default settings. usage: client HOST PORT [PROTOCOL]
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

var (
	ctx     = context.Background()
	options = &redis.Options{Addr: os.Args[1] + ":" + os.Args[2]}
	r       *redis.Client
)

// check panics with what is wrong, which fails the step.
func check(err error) {
	if err != nil {
		panic(err)
	}
}

// same compares how the values print, so that slices and maps compare too.
func same(got any, err error, want any) {
	check(err)
	if fmt.Sprint(got) != fmt.Sprint(want) {
		panic(fmt.Sprintf("got %.200v, not %.200v", got, want))
	}
}

// fails wants the library's ordinary reply error.
func fails(err error, text string) {
	var reply redis.Error
	if !errors.As(err, &reply) || !strings.Contains(err.Error(), text) {
		panic(fmt.Sprintf("got %v, not %s", err, text))
	}
}

func isNil(err error) {
	if err != redis.Nil {
		panic(fmt.Sprintf("got %v, not nil", err))
	}
}

func hello() {
	reply, err := r.Do(ctx, "HELLO").Result()
	check(err)
	fmt.Println("hello", reply)
}

func stringValues() {
	for _, value := range []string{"text", "", strings.Repeat("\x00\xff\r\n", 25600)} {
		check(r.Set(ctx, "go:s", value, 0).Err())
		got, err := r.Get(ctx, "go:s").Result()
		same(got, err, value)
	}
	isNil(r.Get(ctx, "go:none").Err())
}

func counter() {
	check(r.Set(ctx, "go:n", 1, 0).Err())
	n, err := r.Incr(ctx, "go:n").Result()
	same(n, err, 2)
	set, err := r.Expire(ctx, "go:n", 100*time.Second).Result()
	same(set, err, true)
	left, err := r.TTL(ctx, "go:n").Result()
	same(left > 90*time.Second, err, true)
}

func manyKeys() {
	var pairs, keys []string
	for i := range 50 {
		key := fmt.Sprintf("go:k%d", i)
		keys, pairs = append(keys, key), append(pairs, key, key)
	}
	check(r.MSet(ctx, pairs).Err())
	values, err := r.MGet(ctx, keys...).Result()
	same(values, err, keys)
	values, err = r.MGet(ctx, "go:k7", "go:none", "go:k3").Result()
	same(values, err, []any{"go:k7", nil, "go:k3"})
	n, err := r.Exists(ctx, append(keys, "go:none")...).Result()
	same(n, err, 50)
	n, err = r.Del(ctx, append(keys, "go:none")...).Result()
	same(n, err, 50)
}

func hash() {
	r.Del(ctx, "go:h")
	n, err := r.HSet(ctx, "go:h", "f", "v").Result()
	same(n, err, 1)
	value, err := r.HGet(ctx, "go:h", "f").Result()
	same(value, err, "v")
	all, err := r.HGetAll(ctx, "go:h").Result()
	same(all, err, map[string]string{"f": "v"})
}

func list() {
	r.Del(ctx, "go:l")
	n, err := r.RPush(ctx, "go:l", "a", "b", "c").Result()
	same(n, err, 3)
	all, err := r.LRange(ctx, "go:l", 0, -1).Result()
	same(all, err, []string{"a", "b", "c"})
	first, err := r.LPop(ctx, "go:l").Result()
	same(first, err, "a")
}

func set() {
	r.Del(ctx, "go:set")
	n, err := r.SAdd(ctx, "go:set", 1, 2).Result()
	same(n, err, 2)
	members, err := r.SMembersMap(ctx, "go:set").Result()
	same(members, err, map[string]struct{}{"1": {}, "2": {}})
	is, err := r.SIsMember(ctx, "go:set", 1).Result()
	same(is, err, true)
}

func sortedSet() {
	r.Del(ctx, "go:z")
	members := []redis.Z{{Score: 1.5, Member: "m"}, {Score: 2, Member: "n"}}
	n, err := r.ZAdd(ctx, "go:z", members...).Result()
	same(n, err, 2)
	score, err := r.ZScore(ctx, "go:z", "m").Result()
	same(score, err, 1.5)
	all, err := r.ZRangeWithScores(ctx, "go:z", 0, -1).Result()
	same(all, err, members)
}

func hscan() {
	r.Del(ctx, "go:big")
	fields := map[string]string{}
	for i := range 1000 {
		fields[fmt.Sprintf("f%d", i)] = strconv.Itoa(i)
	}
	check(r.HSet(ctx, "go:big", fields).Err())
	got := map[string]string{}
	each := r.HScan(ctx, "go:big", 0, "", 0).Iterator()
	for each.Next(ctx) {
		field := each.Val()
		each.Next(ctx)
		got[field] = each.Val()
	}
	same(got, each.Err(), fields)
}

func pipeline() {
	var want []string
	commands, err := r.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i := range 500 {
			key := fmt.Sprintf("go:p%d", i)
			p.Set(ctx, key, i, 0)
			p.Get(ctx, key)
			want = append(want, "OK", strconv.Itoa(i))
		}
		return nil
	})
	same(len(commands), err, 1000)
	for i, command := range commands {
		switch reply := command.(type) {
		case *redis.StatusCmd:
			same(reply.Val(), reply.Err(), want[i])
		case *redis.StringCmd:
			same(reply.Val(), reply.Err(), want[i])
		}
	}
}

func multi() {
	r.Del(ctx, "{go}t", "{go}u")
	var n *redis.IntCmd
	var value *redis.StringCmd
	_, err := r.TxPipelined(ctx, func(p redis.Pipeliner) error {
		n = p.Incr(ctx, "{go}t")
		p.Set(ctx, "{go}u", "x", 0)
		value = p.Get(ctx, "{go}t")
		return nil
	})
	same(n.Val(), err, 1)
	same(value.Val(), nil, "1")
}

// increment is the optimistic transaction; meddle runs between the GET and the EXEC.
func increment(meddle func()) error {
	return r.Watch(ctx, func(tx *redis.Tx) error {
		n, err := tx.Get(ctx, "{go}w").Int()
		check(err)
		meddle()
		_, err = tx.TxPipelined(ctx, func(p redis.Pipeliner) error {
			p.Set(ctx, "{go}w", n+1, 0)
			return nil
		})
		return err
	}, "{go}w")
}

func watch() {
	check(r.Set(ctx, "{go}w", 1, 0).Err())
	check(increment(func() {}))
	n, err := r.Get(ctx, "{go}w").Int()
	same(n, err, 2)
}

func watchConflict() {
	err := increment(func() { check(r.Set(ctx, "{go}w", 9, 0).Err()) })
	if err != redis.TxFailedErr {
		panic(fmt.Sprintf("EXEC did not notice: %v", err))
	}
	n, err := r.Get(ctx, "{go}w").Int()
	same(n, err, 9)
}

func blpop() {
	r.Del(ctx, "{go}q")
	time.AfterFunc(200*time.Millisecond, func() { r.LPush(ctx, "{go}q", "job") })
	got, err := r.BLPop(ctx, 5*time.Second, "{go}q").Result()
	same(got, err, []string{"{go}q", "job"})
}

func blpopTimeout() {
	isNil(r.BLPop(ctx, time.Second, "{go}q").Err())
}

func eval() {
	got, err := r.Eval(ctx, "return {KEYS[1],ARGV[1]}", []string{"go:e"}, "x").Result()
	same(got, err, []string{"go:e", "x"})
	script := redis.NewScript("return ARGV[1] .. KEYS[1]") // EVALSHA, then EVAL
	got, err = script.Run(ctx, r, []string{"go:e"}, "x").Result()
	same(got, err, "xgo:e")
}

func unknownCommand() {
	fails(r.Do(ctx, "NOSUCHCOMMAND", "x").Err(), "unknown command")
	check(r.Ping(ctx).Err())
}

func wrongType() {
	r.Del(ctx, "go:l")
	r.RPush(ctx, "go:l", "x")
	fails(r.Incr(ctx, "go:l").Err(), "WRONGTYPE")
	value, err := r.LPop(ctx, "go:l").Result()
	same(value, err, "x")
}

func selectAndName() {
	named := *options
	named.ClientName = "cashew"
	client := redis.NewClient(&named)
	defer client.Close()
	reply, err := client.Do(ctx, "SELECT", 0).Result()
	same(reply, err, "OK")
	name, err := client.ClientGetName(ctx).Result()
	same(name, err, "cashew")
}

func reconnect() {
	check(r.Set(ctx, "go:r", 1, 0).Err())
	check(r.Do(ctx, "QUIT").Err()) // the other side closes
	time.Sleep(100 * time.Millisecond)
	n, err := r.Get(ctx, "go:r").Int()
	same(n, err, 1)
}

var steps = []struct {
	name string
	run  func()
}{
	{"HELLO", hello},
	{"strings", stringValues},
	{"counter", counter},
	{"many keys", manyKeys},
	{"hash", hash},
	{"list", list},
	{"set", set},
	{"sorted set", sortedSet},
	{"HSCAN", hscan},
	{"pipeline of 1,000", pipeline},
	{"MULTI", multi},
	{"WATCH", watch},
	{"WATCH conflict", watchConflict},
	{"BLPOP", blpop},
	{"BLPOP time-out", blpopTimeout},
	{"EVAL", eval},
	{"unknown command", unknownCommand},
	{"WRONGTYPE", wrongType},
	{"SELECT and name", selectAndName},
	{"reconnect", reconnect},
}

func passes(name string, run func()) (passed bool) {
	defer func() {
		if problem := recover(); problem != nil {
			fmt.Println("FAIL", name, problem)
			passed = false
		}
	}()
	run()
	fmt.Println("ok", name)
	return true
}

func main() {
	if len(os.Args) > 3 {
		options.Protocol, _ = strconv.Atoi(os.Args[3])
	}
	r = redis.NewClient(options)
	passed := 0
	for _, step := range steps {
		if passes(step.name, step.run) {
			passed++
		}
	}
	r.Close()
	fmt.Println("library go-redis", redis.Version())
	fmt.Printf("%d passed, %d failed\n", passed, len(steps)-passed)
	if passed < len(steps) {
		os.Exit(1)
	}
}
