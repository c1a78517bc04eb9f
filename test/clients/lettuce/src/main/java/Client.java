import io.lettuce.core.ClientOptions;
import io.lettuce.core.KeyValue;
import io.lettuce.core.LettuceVersion;
import io.lettuce.core.MapScanCursor;
import io.lettuce.core.RedisClient;
import io.lettuce.core.RedisCommandExecutionException;
import io.lettuce.core.RedisFuture;
import io.lettuce.core.RedisURI;
import io.lettuce.core.ScoredValue;
import io.lettuce.core.ScriptOutputType;
import io.lettuce.core.TransactionResult;
import io.lettuce.core.api.StatefulRedisConnection;
import io.lettuce.core.api.sync.RedisCommands;
import io.lettuce.core.codec.ByteArrayCodec;
import io.lettuce.core.codec.StringCodec;
import io.lettuce.core.output.CommandOutput;
import io.lettuce.core.output.NestedMultiOutput;
import io.lettuce.core.output.StatusOutput;
import io.lettuce.core.protocol.CommandArgs;
import io.lettuce.core.protocol.CommandType;
import io.lettuce.core.protocol.ProtocolKeyword;
import io.lettuce.core.protocol.ProtocolVersion;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;

/** Lettuce with its default settings. Arguments: HOST PORT [PROTOCOL] */
public class Client {
  interface Step {
    void run() throws Exception;
  }

  enum Unknown implements ProtocolKeyword {
    NOSUCHCOMMAND;

    public byte[] getBytes() {
      return name().getBytes(StandardCharsets.US_ASCII);
    }
  }

  static RedisClient client;
  static RedisURI uri;
  static int passed;
  static int failed;

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
    } catch (RedisCommandExecutionException error) {
      if (error.getMessage().contains(text)) return;
      throw error;
    }
    throw new AssertionError("no error");
  }

  /** A command that the library has no method for. */
  static <T> T send(RedisCommands<String, String> r, ProtocolKeyword command,
      CommandOutput<String, String, T> output, String... words) {
    return r.dispatch(command, output, new CommandArgs<>(StringCodec.UTF8).addKeys(words));
  }

  static void strings(RedisCommands<String, String> r) {
    byte[] key = "le:s".getBytes();
    byte[] big = new byte[100 * 1024];
    for (int i = 0; i < big.length; i++) big[i] = (byte) i;
    try (StatefulRedisConnection<byte[], byte[]> bytes = client.connect(ByteArrayCodec.INSTANCE)) {
      for (byte[] value : List.of("text".getBytes(), new byte[0], big)) {
        same(bytes.sync().set(key, value), "OK");
        same(Arrays.equals(bytes.sync().get(key), value), true);
      }
    }
    same(r.get("le:none"), null);
  }

  static void counter(RedisCommands<String, String> r) {
    r.set("le:n", "1");
    same(r.incr("le:n"), 2L);
    same(r.ttl("le:n"), -1L);
    same(r.expire("le:n", 100), true);
    same(r.ttl("le:n") > 90, true);
  }

  static void manyKeys(RedisCommands<String, String> r) {
    Map<String, String> pairs = new LinkedHashMap<>();
    List<KeyValue<String, String>> want = new ArrayList<>();
    for (int i = 0; i < 50; i++) {
      pairs.put("le:k" + i, "" + i);
      want.add(KeyValue.just("le:k" + i, "" + i));
    }
    String[] keys = pairs.keySet().toArray(new String[0]);
    same(r.mset(pairs), "OK");
    same(r.mget(keys), want);
    same(r.mget("le:k7", "le:none").get(1), KeyValue.empty("le:none"));
    same(r.exists(keys), 50L);
    same(r.del(keys), 50L);
    same(r.del(keys), 0L);
  }

  static void hash(RedisCommands<String, String> r) {
    r.del("le:h");
    same(r.hset("le:h", "f", "v"), true);
    same(r.hget("le:h", "f"), "v");
    same(r.hgetall("le:h"), Map.of("f", "v"));
  }

  static void list(RedisCommands<String, String> r) {
    r.del("le:l");
    same(r.rpush("le:l", "a", "b", "c"), 3L);
    same(r.lrange("le:l", 0, -1), List.of("a", "b", "c"));
    same(r.lpop("le:l"), "a");
  }

  static void set(RedisCommands<String, String> r) {
    r.del("le:set");
    same(r.sadd("le:set", "1", "2"), 2L);
    same(r.smembers("le:set"), Set.of("1", "2"));
    same(r.sismember("le:set", "1"), true);
  }

  static void sortedSet(RedisCommands<String, String> r) {
    ScoredValue<String> m = ScoredValue.just(1.5, "m");
    ScoredValue<String> n = ScoredValue.just(2, "n");
    r.del("le:z");
    same(r.zadd("le:z", m, n), 2L);
    same(r.zscore("le:z", "m"), 1.5);
    same(r.zrangeWithScores("le:z", 0, -1), List.of(m, n));
  }

  static void hscan(RedisCommands<String, String> r) {
    Map<String, String> fields = new HashMap<>();
    for (int i = 0; i < 1000; i++) fields.put("f" + i, "v" + i);
    r.del("le:big");
    r.hset("le:big", fields);
    MapScanCursor<String, String> page = r.hscan("le:big");
    Map<String, String> got = new HashMap<>(page.getMap());
    while (!page.isFinished()) {
      page = r.hscan("le:big", page);
      got.putAll(page.getMap());
    }
    same(got, fields);
  }

  static void pipeline(StatefulRedisConnection<String, String> connection) throws Exception {
    List<RedisFuture<String>> replies = new ArrayList<>();
    for (int i = 0; i < 500; i++) {
      replies.add(connection.async().set("le:p" + i, "" + i));
      replies.add(connection.async().get("le:p" + i));
    }
    for (int i = 0; i < 1000; i++) same(replies.get(i).get(), i % 2 == 0 ? "OK" : "" + i / 2);
  }

  static void multi(RedisCommands<String, String> r) {
    r.del("{le}t", "{le}u");
    r.multi();
    r.incr("{le}t");
    r.set("{le}u", "x");
    r.get("{le}t");
    same(r.exec().stream().toList(), List.of(1L, "OK", "1"));
  }

  /** One optimistic increment; `meddle` runs between the GET and the EXEC. */
  static TransactionResult increment(RedisCommands<String, String> r, Runnable meddle) {
    r.watch("{le}w");
    int n = Integer.parseInt(r.get("{le}w"));
    meddle.run();
    r.multi();
    r.set("{le}w", "" + (n + 1));
    return r.exec();
  }

  static void watch(RedisCommands<String, String> r) {
    r.set("{le}w", "1");
    same(increment(r, () -> {}).stream().toList(), List.of("OK"));
    same(r.get("{le}w"), "2");
  }

  static void watchConflict(RedisCommands<String, String> r) {
    try (StatefulRedisConnection<String, String> other = client.connect()) {
      same(increment(r, () -> other.sync().set("{le}w", "9")).wasDiscarded(), true);
    }
    same(r.get("{le}w"), "9");
  }

  static void blpop(RedisCommands<String, String> r) throws Exception {
    r.del("{le}q");
    try (StatefulRedisConnection<String, String> other = client.connect()) {
      RedisFuture<KeyValue<String, String>> waiting = other.async().blpop(5, "{le}q");
      Thread.sleep(200);
      r.lpush("{le}q", "job");
      same(waiting.get(), KeyValue.just("{le}q", "job"));
    }
  }

  static void eval(RedisCommands<String, String> r) {
    String[] keys = {"le:e"};
    same(r.eval("return {KEYS[1],ARGV[1]}", ScriptOutputType.MULTI, keys, "x"),
        List.of("le:e", "x"));
  }

  static void unknownCommand(RedisCommands<String, String> r) throws Exception {
    fails(() -> send(r, Unknown.NOSUCHCOMMAND, new StatusOutput<>(StringCodec.UTF8), "x"),
        "unknown command");
    same(r.ping(), "PONG");
  }

  static void wrongType(RedisCommands<String, String> r) throws Exception {
    r.del("le:l");
    r.rpush("le:l", "x");
    fails(() -> r.incr("le:l"), "WRONGTYPE");
    same(r.lpop("le:l"), "x");
  }

  static void selectAndName() {
    RedisURI named = RedisURI.builder(uri).withClientName("cashew").withDatabase(0).build();
    try (StatefulRedisConnection<String, String> connection = client.connect(named)) {
      same(connection.sync().select(0), "OK");
      same(connection.sync().clientGetname(), "cashew");
    }
  }

  /** The other side closes; the library connects again by itself. */
  static void reconnect(RedisCommands<String, String> r) throws InterruptedException {
    r.set("le:r", "1");
    send(r, CommandType.QUIT, new StatusOutput<>(StringCodec.UTF8));
    Thread.sleep(100);
    same(r.get("le:r"), "1");
  }

  public static void main(String[] args) {
    uri = RedisURI.create(args[0], Integer.parseInt(args[1]));
    client = RedisClient.create(uri);
    if (args.length > 2) {
      ProtocolVersion version = args[2].equals("3") ? ProtocolVersion.RESP3 : ProtocolVersion.RESP2;
      client.setOptions(ClientOptions.builder().protocolVersion(version).build());
    }
    StatefulRedisConnection<String, String> connection = client.connect();
    RedisCommands<String, String> r = connection.sync();
    step("HELLO", () -> System.out.println(
        "hello " + send(r, CommandType.HELLO, new NestedMultiOutput<>(StringCodec.UTF8))));
    step("strings", () -> strings(r));
    step("counter", () -> counter(r));
    step("many keys", () -> manyKeys(r));
    step("hash", () -> hash(r));
    step("list", () -> list(r));
    step("set", () -> set(r));
    step("sorted set", () -> sortedSet(r));
    step("HSCAN", () -> hscan(r));
    step("pipeline of 1,000", () -> pipeline(connection));
    step("MULTI", () -> multi(r));
    step("WATCH", () -> watch(r));
    step("WATCH conflict", () -> watchConflict(r));
    step("BLPOP", () -> blpop(r));
    step("BLPOP time-out", () -> same(r.blpop(1, "{le}q"), null));
    step("EVAL", () -> eval(r));
    step("unknown command", () -> unknownCommand(r));
    step("WRONGTYPE", () -> wrongType(r));
    step("SELECT and name", () -> selectAndName());
    step("reconnect", () -> reconnect(r));
    connection.close();
    client.shutdown();
    System.out.println("library lettuce " + LettuceVersion.getVersion().replaceAll("/.*", ""));
    System.out.println(passed + " passed, " + failed + " failed");
    System.exit(failed > 0 ? 1 : 0);
  }
}
