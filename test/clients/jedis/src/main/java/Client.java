import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import redis.clients.jedis.Jedis;
import redis.clients.jedis.Pipeline;
import redis.clients.jedis.Response;
import redis.clients.jedis.Transaction;
import redis.clients.jedis.exceptions.JedisDataException;

/** Jedis with its default settings. Arguments: HOST PORT */
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
    } catch (JedisDataException error) {
      if (error.getMessage().contains(text)) return;
      throw error;
    }
    throw new AssertionError("no error");
  }

  public static void main(String[] args) {
    String host = args[0];
    int port = Integer.parseInt(args[1]);
    Jedis r = new Jedis(host, port);
    step("strings", () -> {
      byte[] big = new byte[100000];
      Arrays.fill(big, (byte) 0xff);
      same(r.set("je:s".getBytes(), big), "OK");
      if (!Arrays.equals(r.get("je:s".getBytes()), big)) throw new AssertionError("value");
      if (r.get("je:none") != null) throw new AssertionError("not null");
      r.set("je:n", "1");
      same(r.incr("je:n"), 2L);
      same(r.expire("je:n", 100), 1L);
    });
    step("many keys", () -> {
      List<String> pairs = new ArrayList<>();
      List<String> keys = new ArrayList<>();
      for (int i = 0; i < 50; i++) {
        keys.add("je:k" + i);
        pairs.add("je:k" + i);
        pairs.add("je:k" + i);
      }
      same(r.mset(pairs.toArray(new String[0])), "OK");
      same(r.mget(keys.toArray(new String[0])), keys);
      same(r.del(keys.toArray(new String[0])), 50L);
    });
    step("structures", () -> {
      r.del("je:h", "je:l", "je:z");
      r.hset("je:h", "f", "v");
      same(r.hgetAll("je:h").get("f"), "v");
      r.rpush("je:l", "a", "b");
      same(r.lrange("je:l", 0, -1), List.of("a", "b"));
      r.zadd("je:z", 1.5, "m");
      same(r.zscore("je:z", "m"), 1.5);
    });
    step("pipeline of 1,000", () -> {
      Pipeline pipeline = r.pipelined();
      List<Response<String>> replies = new ArrayList<>();
      for (int i = 0; i < 1000; i++) replies.add(pipeline.set("je:p" + i, "" + i));
      pipeline.sync();
      for (Response<String> reply : replies) same(reply.get(), "OK");
    });
    step("MULTI", () -> {
      r.del("{je}t");
      Transaction transaction = r.multi();
      transaction.incr("{je}t");
      transaction.incr("{je}t");
      same(transaction.exec(), List.of(1L, 2L));
    });
    step("WATCH", () -> {
      r.set("{je}w", "1");
      r.watch("{je}w");
      int n = Integer.parseInt(r.get("{je}w"));
      Transaction transaction = r.multi();
      transaction.set("{je}w", "" + (n + 1));
      same(transaction.exec(), List.of("OK"));
    });
    step("BLPOP", () -> {
      r.del("{je}q");
      Thread pusher = new Thread(() -> {
        try (Jedis other = new Jedis(host, port)) {
          Thread.sleep(200);
          other.lpush("{je}q", "job");
        } catch (InterruptedException ignored) {
          Thread.currentThread().interrupt();
        }
      });
      pusher.start();
      same(r.blpop(5, "{je}q"), List.of("{je}q", "job"));
      pusher.join();
      if (r.blpop(1, "{je}q") != null) throw new AssertionError("not null");
    });
    step("EVAL", () -> same(r.eval("return {KEYS[1],ARGV[1]}", 1, "je:e", "x"), List.of("je:e", "x")));
    step("errors", () -> {
      fails(() -> r.sendCommand(() -> "NOSUCHCOMMAND".getBytes(), "x"), "unknown command");
      r.del("je:l");
      r.rpush("je:l", "x");
      fails(() -> r.incr("je:l"), "WRONGTYPE");
      same(r.ping(), "PONG");
    });
    step("reconnect", () -> {
      r.close();
      try (Jedis again = new Jedis(host, port)) {
        same(again.clientSetname("cashew"), "OK");
        same(again.clientGetname(), "cashew");
        same(again.select(0), "OK");
      }
    });
    String jar = Jedis.class.getProtectionDomain().getCodeSource().getLocation().getPath();
    System.out.println("library " + jar.replaceAll(".*/|\\.jar$", "").replace("jedis-", "jedis "));
    System.out.println(passed + " passed, " + failed + " failed");
    System.exit(failed > 0 ? 1 : 0);
  }
}
