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
	ctx            = context.Background()
	passed, failed int
)

func step(name string, run func() error) {
	if err := run(); err != nil {
		failed++
		fmt.Println("FAIL", name, err)
		return
	}
	passed++
	fmt.Println("ok", name)
}

func want[T comparable](got, expected T, err error) error {
	if err != nil {
		return err
	}
	if got != expected {
		return fmt.Errorf("got %v, not %v", got, expected)
	}
	return nil
}

func main() {
	options := &redis.Options{Addr: os.Args[1] + ":" + os.Args[2]}
	if len(os.Args) > 3 {
		options.Protocol, _ = strconv.Atoi(os.Args[3])
	}
	r := redis.NewClient(options)
	step("strings", func() error {
		for _, value := range []string{"text", "", strings.Repeat("\x00\xff\r\n", 25000)} {
			if err := r.Set(ctx, "go:s", value, 0).Err(); err != nil {
				return err
			}
			got, err := r.Get(ctx, "go:s").Result()
			if err := want(got, value, err); err != nil {
				return err
			}
		}
		if err := r.Get(ctx, "go:none").Err(); err != redis.Nil {
			return fmt.Errorf("not nil: %v", err)
		}
		r.Set(ctx, "go:n", 1, time.Minute)
		n, err := r.Incr(ctx, "go:n").Result()
		return want(n, 2, err)
	})
	step("many keys", func() error {
		var pairs, keys []string
		for i := 0; i < 50; i++ {
			key := fmt.Sprintf("go:k%d", i)
			keys, pairs = append(keys, key), append(pairs, key, key)
		}
		if err := r.MSet(ctx, pairs).Err(); err != nil {
			return err
		}
		values, err := r.MGet(ctx, keys...).Result()
		if err != nil {
			return err
		}
		for i, value := range values {
			if value != keys[i] {
				return fmt.Errorf("%v at %d", value, i)
			}
		}
		n, err := r.Del(ctx, keys...).Result()
		return want(n, 50, err)
	})
	step("structures", func() error {
		r.Del(ctx, "go:h", "go:l", "go:set", "go:z")
		r.HSet(ctx, "go:h", "f", "v")
		r.RPush(ctx, "go:l", "a", "b")
		r.SAdd(ctx, "go:set", 1)
		r.ZAdd(ctx, "go:z", redis.Z{Score: 1.5, Member: "m"})
		h, err := r.HGetAll(ctx, "go:h").Result()
		if err := want(h["f"], "v", err); err != nil {
			return err
		}
		l, err := r.LRange(ctx, "go:l", 0, -1).Result()
		if err := want(strings.Join(l, ","), "a,b", err); err != nil {
			return err
		}
		z, err := r.ZScore(ctx, "go:z", "m").Result()
		return want(z, 1.5, err)
	})
	step("pipeline of 1,000", func() error {
		commands, err := r.Pipelined(ctx, func(p redis.Pipeliner) error {
			for i := 0; i < 1000; i++ {
				p.Set(ctx, fmt.Sprintf("go:p%d", i), i, 0)
			}
			return nil
		})
		return want(len(commands), 1000, err)
	})
	step("MULTI", func() error {
		r.Del(ctx, "{go}t")
		var n *redis.IntCmd
		_, err := r.TxPipelined(ctx, func(p redis.Pipeliner) error {
			p.Incr(ctx, "{go}t")
			n = p.Incr(ctx, "{go}t")
			return nil
		})
		return want(n.Val(), 2, err)
	})
	step("WATCH", func() error {
		r.Set(ctx, "{go}w", 1, 0)
		increment := func(tx *redis.Tx) error {
			n, err := tx.Get(ctx, "{go}w").Int()
			if err != nil {
				return err
			}
			_, err = tx.TxPipelined(ctx, func(p redis.Pipeliner) error {
				p.Set(ctx, "{go}w", n+1, 0)
				return nil
			})
			return err
		}
		if err := r.Watch(ctx, increment, "{go}w"); err != nil {
			return err
		}
		n, err := r.Get(ctx, "{go}w").Int()
		return want(n, 2, err)
	})
	step("BLPOP", func() error {
		r.Del(ctx, "{go}q")
		time.AfterFunc(200*time.Millisecond, func() { r.LPush(ctx, "{go}q", "job") })
		got, err := r.BLPop(ctx, 5*time.Second, "{go}q").Result()
		if err != nil {
			return err
		}
		if err := r.BLPop(ctx, time.Second, "{go}q").Err(); err != redis.Nil {
			return fmt.Errorf("not nil: %v", err)
		}
		return want(got[1], "job", nil)
	})
	step("EVAL", func() error {
		got, err := r.Eval(ctx, "return ARGV[1]", []string{"go:e"}, "x").Text()
		if err := want(got, "x", err); err != nil {
			return err
		}
		script := redis.NewScript("return ARGV[1] .. KEYS[1]") // EVALSHA, then EVAL
		got, err = script.Run(ctx, r, []string{"go:e"}, "x").Text()
		return want(got, "xgo:e", err)
	})
	step("errors", func() error {
		err := r.Do(ctx, "NOSUCHCOMMAND").Err()
		var reply redis.Error
		if !errors.As(err, &reply) || !strings.Contains(err.Error(), "unknown command") {
			return fmt.Errorf("unknown command: %v", err)
		}
		r.Del(ctx, "go:l")
		r.RPush(ctx, "go:l", "x")
		if err := r.Incr(ctx, "go:l").Err(); err == nil || !strings.HasPrefix(err.Error(), "WRONGTYPE") {
			return fmt.Errorf("WRONGTYPE: %v", err)
		}
		return r.Ping(ctx).Err()
	})
	step("reconnect", func() error {
		r.Close()
		options.ClientName = "cashew"
		again := redis.NewClient(options)
		name, err := again.ClientGetName(ctx).Result()
		return want(name, "cashew", err)
	})
	fmt.Println("library go-redis", redis.Version())
	fmt.Printf("%d passed, %d failed\n", passed, failed)
	if failed > 0 {
		os.Exit(1)
	}
}
