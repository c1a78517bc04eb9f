import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import redis.clients.jedis.DefaultJedisClientConfig;
import redis.clients.jedis.HostAndPort;
import redis.clients.jedis.Jedis;
import redis.clients.jedis.JedisClientConfig;
import redis.clients.jedis.Pipeline;
import redis.clients.jedis.Protocol;
import redis.clients.jedis.RedisProtocol;
import redis.clients.jedis.Response;
import redis.clients.jedis.Transaction;
import redis.clients.jedis.exceptions.JedisConnectionException;
import redis.clients.jedis.exceptions.JedisDataException;
import redis.clients.jedis.resps.ScanResult;
import redis.clients.jedis.resps.Tuple;
import redis.clients.jedis.util.SafeEncoder;

/** Jedis with its default settings. Arguments: HOST PORT [PROTOCOL] */
public class Client {
  interface Step {
    void run() throws Exception;
  }

  static HostAndPort address;
  static JedisClientConfig config;
  static int passed;
  static int failed;

  static Jedis connect() {
    return config == null ? new Jedis(address) : new Jedis(address, config);
  }

  static void step(String name, Step step) {
    try {
      step.run();
      passed++;
      System.out.println("ok " + name);
    } catch (Exception | AssertionError error) {
      failed++;
      System.out.println("FAIL " + name + " " + error);
    }
  }

  static void same(Object got, Object want) {
    if (want == null ? got != null : !want.equals(got)) {
      throw new AssertionError("got " + got + ", not " + want);
    }
  }

  /** The library's ordinary reply error. */
  static void fails(Step step, String text) throws Exception {
    try {
      step.run();
    } catch (JedisDataException error) {
      if (error.getMessage().contains(text)) return;
      throw error;
    }
    throw new AssertionError("no error");
  }

  static void strings(Jedis r) {
    byte[] key = "je:s".getBytes();
    byte[] big = new byte[100 * 1024];
    for (int i = 0; i < big.length; i++) big[i] = (byte) i;
    for (byte[] value : List.of("text".getBytes(), new byte[0], big)) {
      same(r.set(key, value), "OK");
      same(Arrays.equals(r.get(key), value), true);
    }
    same(r.get("je:none"), null);
  }

  static void counter(Jedis r) {
    r.set("je:n", "1");
    same(r.incr("je:n"), 2L);
    same(r.ttl("je:n"), -1L);
    same(r.expire("je:n", 100), 1L);
    same(r.ttl("je:n") > 90, true);
  }

  static void manyKeys(Jedis r) {
    List<String> pairs = new ArrayList<>();
    List<String> names = new ArrayList<>();
    for (int i = 0; i < 50; i++) {
      names.add("je:k" + i);
      pairs.addAll(List.of("je:k" + i, "je:k" + i));
    }
    String[] keys = names.toArray(new String[0]);
    same(r.mset(pairs.toArray(new String[0])), "OK");
    same(r.mget(keys), names);
    same(r.mget("je:k7", "je:none", "je:k3"), Arrays.asList("je:k7", null, "je:k3"));
    same(r.exists(keys), 50L);
    same(r.del(keys), 50L);
    same(r.del(keys), 0L);
  }

  static void hash(Jedis r) {
    r.del("je:h");
    same(r.hset("je:h", "f", "v"), 1L);
    same(r.hget("je:h", "f"), "v");
    same(r.hgetAll("je:h"), Map.of("f", "v"));
  }

  static void list(Jedis r) {
    r.del("je:l");
    same(r.rpush("je:l", "a", "b", "c"), 3L);
    same(r.lrange("je:l", 0, -1), List.of("a", "b", "c"));
    same(r.lpop("je:l"), "a");
  }

  static void set(Jedis r) {
    r.del("je:set");
    same(r.sadd("je:set", "1", "2"), 2L);
    same(r.smembers("je:set"), Set.of("1", "2"));
    same(r.sismember("je:set", "1"), true);
  }

  static void sortedSet(Jedis r) {
    r.del("je:z");
    same(r.zadd("je:z", Map.of("m", 1.5, "n", 2.0)), 2L);
    same(r.zscore("je:z", "m"), 1.5);
    same(r.zrangeWithScores("je:z", 0, -1), List.of(new Tuple("m", 1.5), new Tuple("n", 2.0)));
  }

  static void hscan(Jedis r) {
    Map<String, String> fields = new HashMap<>();
    for (int i = 0; i < 1000; i++) fields.put("f" + i, "v" + i);
    r.del("je:big");
    r.hset("je:big", fields);
    Map<String, String> got = new HashMap<>();
    String cursor = "0";
    do {
      ScanResult<Map.Entry<String, String>> page = r.hscan("je:big", cursor);
      page.getResult().forEach(entry -> got.put(entry.getKey(), entry.getValue()));
      cursor = page.getCursor();
    } while (!cursor.equals("0"));
    same(got, fields);
  }

  static void pipeline(Jedis r) {
    Pipeline pipeline = r.pipelined();
    List<Response<String>> replies = new ArrayList<>();
    for (int i = 0; i < 500; i++) {
      replies.add(pipeline.set("je:p" + i, "" + i));
      replies.add(pipeline.get("je:p" + i));
    }
    pipeline.sync();
    for (int i = 0; i < 1000; i++) same(replies.get(i).get(), i % 2 == 0 ? "OK" : "" + i / 2);
  }

  static void multi(Jedis r) {
    r.del("{je}t", "{je}u");
    Transaction transaction = r.multi();
    transaction.incr("{je}t");
    transaction.set("{je}u", "x");
    transaction.get("{je}t");
    same(transaction.exec(), List.of(1L, "OK", "1"));
  }

  /** One optimistic increment; `meddle` runs between the GET and the EXEC. */
  static List<Object> increment(Jedis r, Runnable meddle) {
    r.watch("{je}w");
    int n = Integer.parseInt(r.get("{je}w"));
    meddle.run();
    Transaction transaction = r.multi();
    transaction.set("{je}w", "" + (n + 1));
    return transaction.exec();
  }

  static void watch(Jedis r) {
    r.set("{je}w", "1");
    same(increment(r, () -> {}), List.of("OK"));
    same(r.get("{je}w"), "2");
  }

  static void watchConflict(Jedis r) {
    try (Jedis other = connect()) {
      same(increment(r, () -> other.set("{je}w", "9")), null);
    }
    same(r.get("{je}w"), "9");
  }

  static void blpop(Jedis r) throws InterruptedException {
    r.del("{je}q");
    Thread pusher = new Thread(() -> {
      try (Jedis other = connect()) {
        Thread.sleep(200);
        other.lpush("{je}q", "job");
      } catch (InterruptedException ignored) {
        Thread.currentThread().interrupt();
      }
    });
    pusher.start();
    same(r.blpop(5, "{je}q"), List.of("{je}q", "job"));
    pusher.join();
  }

  static void unknownCommand(Jedis r) throws Exception {
    fails(() -> r.sendCommand(() -> "NOSUCHCOMMAND".getBytes(), "x"), "unknown command");
    same(r.ping(), "PONG");
  }

  static void wrongType(Jedis r) throws Exception {
    r.del("je:l");
    r.rpush("je:l", "x");
    fails(() -> r.incr("je:l"), "WRONGTYPE");
    same(r.lpop("je:l"), "x");
  }

  static void selectAndName(Jedis r) {
    same(r.select(0), "OK");
    same(r.clientSetname("cashew"), "OK");
    same(r.clientGetname(), "cashew");
  }

  /** A connection that was lost says so once; after disconnect() the next command connects. */
  static void reconnect(Jedis r) throws InterruptedException {
    r.set("je:r", "1");
    r.sendCommand(() -> "QUIT".getBytes());
    Thread.sleep(100);
    try {
      r.get("je:r");
      throw new AssertionError("still connected after QUIT");
    } catch (JedisConnectionException expected) {
      r.disconnect();
    }
    same(r.get("je:r"), "1");
  }

  public static void main(String[] args) {
    address = new HostAndPort(args[0], Integer.parseInt(args[1]));
    if (args.length > 2) {
      RedisProtocol protocol = args[2].equals("3") ? RedisProtocol.RESP3 : RedisProtocol.RESP2;
      config = DefaultJedisClientConfig.builder().protocol(protocol).build();
    }
    Jedis r = connect();
    step("HELLO", () -> System.out.println(
        "hello " + SafeEncoder.encodeObject(r.sendCommand(Protocol.Command.HELLO))));
    step("strings", () -> strings(r));
    step("counter", () -> counter(r));
    step("many keys", () -> manyKeys(r));
    step("hash", () -> hash(r));
    step("list", () -> list(r));
    step("set", () -> set(r));
    step("sorted set", () -> sortedSet(r));
    step("HSCAN", () -> hscan(r));
    step("pipeline of 1,000", () -> pipeline(r));
    step("MULTI", () -> multi(r));
    step("WATCH", () -> watch(r));
    step("WATCH conflict", () -> watchConflict(r));
    step("BLPOP", () -> blpop(r));
    step("BLPOP time-out", () -> same(r.blpop(1, "{je}q"), null));
    step("EVAL", () ->
        same(r.eval("return {KEYS[1],ARGV[1]}", 1, "je:e", "x"), List.of("je:e", "x")));
    step("unknown command", () -> unknownCommand(r));
    step("WRONGTYPE", () -> wrongType(r));
    step("SELECT and name", () -> selectAndName(r));
    step("reconnect", () -> reconnect(r));
    r.close();
    String jar = Jedis.class.getProtectionDomain().getCodeSource().getLocation().getPath();
    System.out.println("library " + jar.replaceAll(".*/|\\.jar$", "").replace("jedis-", "jedis "));
    System.out.println(passed + " passed, " + failed + " failed");
    System.exit(failed > 0 ? 1 : 0);
  }
}
