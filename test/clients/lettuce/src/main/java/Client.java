import io.lettuce.core.KeyValue;
import io.lettuce.core.LettuceVersion;
import io.lettuce.core.RedisClient;
import io.lettuce.core.RedisCommandExecutionException;
import io.lettuce.core.RedisFuture;
import io.lettuce.core.RedisURI;
import io.lettuce.core.ScriptOutputType;
import io.lettuce.core.api.StatefulRedisConnection;
import io.lettuce.core.api.sync.RedisCommands;
import io.lettuce.core.codec.StringCodec;
import io.lettuce.core.output.StatusOutput;
import io.lettuce.core.protocol.CommandArgs;
import io.lettuce.core.protocol.ProtocolKeyword;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Lettuce with its default settings (RESP3 by HELLO). Arguments: HOST PORT */
public class Client {
  interface Step {
    void run() throws Exception;
  }

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
    if (!want.equals(got)) throw new AssertionError("got " + got + ", not " + want);
  }

  static void fails(Step step, String text) throws Exception {
    try {
      step.run();
    } catch (RedisCommandExecutionException error) {
      if (error.getMessage().contains(text)) return;
      throw error;
    }
    throw new AssertionError("no error");
  }

  enum Unknown implements ProtocolKeyword {
    NOSUCHCOMMAND;

    public byte[] getBytes() {
      return name().getBytes(StandardCharsets.US_ASCII);
    }
  }

  public static void main(String[] args) {
    RedisURI uri = RedisURI.create(args[0], Integer.parseInt(args[1]));
    RedisClient client = RedisClient.create(uri);
    StatefulRedisConnection<String, String> connection = client.connect();
    RedisCommands<String, String> r = connection.sync();
    step("strings", () -> {
      same(r.set("le:s", "x\r\n".repeat(30000)), "OK");
      same(r.get("le:s"), "x\r\n".repeat(30000));
      if (r.get("le:none") != null) throw new AssertionError("not null");
      r.set("le:n", "1");
      same(r.incr("le:n"), 2L);
    });
    step("many keys", () -> {
      Map<String, String> pairs = new LinkedHashMap<>();
      for (int i = 0; i < 50; i++) pairs.put("le:k" + i, "" + i);
      String[] keys = pairs.keySet().toArray(new String[0]);
      same(r.mset(pairs), "OK");
      same(r.mget(keys).get(49), KeyValue.just("le:k49", "49"));
      same(r.del(keys), 50L);
    });
    step("structures", () -> {
      r.del("le:h", "le:l", "le:z");
      r.hset("le:h", "f", "v");
      same(r.hgetall("le:h"), Map.of("f", "v"));
      r.rpush("le:l", "a", "b");
      same(r.lrange("le:l", 0, -1), List.of("a", "b"));
      r.zadd("le:z", 1.5, "m");
      same(r.zscore("le:z", "m"), 1.5);
    });
    step("pipeline of 1,000", () -> {
      List<RedisFuture<String>> replies = new ArrayList<>();
      for (int i = 0; i < 1000; i++) replies.add(connection.async().set("le:p" + i, "" + i));
      for (RedisFuture<String> reply : replies) same(reply.get(), "OK");
    });
    step("MULTI", () -> {
      r.del("{le}t");
      r.multi();
      r.incr("{le}t");
      r.incr("{le}t");
      same(r.exec().stream().toList(), List.of(1L, 2L));
    });
    step("WATCH", () -> {
      r.set("{le}w", "1");
      r.watch("{le}w");
      int n = Integer.parseInt(r.get("{le}w"));
      r.multi();
      r.set("{le}w", "" + (n + 1));
      same(r.exec().stream().toList(), List.of("OK"));
    });
    step("BLPOP", () -> {
      r.del("{le}q");
      StatefulRedisConnection<String, String> other = client.connect();
      RedisFuture<KeyValue<String, String>> waiting = other.async().blpop(5, "{le}q");
      Thread.sleep(200);
      r.lpush("{le}q", "job");
      same(waiting.get(), KeyValue.just("{le}q", "job"));
      if (other.sync().blpop(1, "{le}q") != null) throw new AssertionError("not null");
      other.close();
    });
    step("EVAL", () -> {
      List<String> reply =
          r.eval("return {KEYS[1],ARGV[1]}", ScriptOutputType.MULTI, new String[] {"le:e"}, "x");
      same(reply, List.of("le:e", "x"));
    });
    step("errors", () -> {
      fails(
          () ->
              r.dispatch(
                  Unknown.NOSUCHCOMMAND,
                  new StatusOutput<>(StringCodec.UTF8),
                  new CommandArgs<>(StringCodec.UTF8).add("x")),
          "unknown command");
      r.del("le:l");
      r.rpush("le:l", "x");
      fails(() -> r.incr("le:l"), "WRONGTYPE");
      same(r.ping(), "PONG");
    });
    step("reconnect", () -> {
      connection.close();
      uri.setClientName("cashew");
      StatefulRedisConnection<String, String> again = client.connect(uri);
      same(again.sync().clientGetname(), "cashew");
      again.close();
    });
    client.shutdown();
    System.out.println("library lettuce " + LettuceVersion.getVersion());
    System.out.println(passed + " passed, " + failed + " failed");
    System.exit(failed > 0 ? 1 : 0);
  }
}
