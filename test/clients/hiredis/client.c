/* hiredis with its default settings. usage: client HOST PORT */
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { kBig = 100 * 1024, kKeys = 50 };

static redisContext* c; /* the connection of all steps */
static redisContext* other;
static char got[64 * 1024]; /* the last reply, as `render` writes it */
static const char* why;     /* what the failed step wanted */

/* The step fails when `expression` does not hold. */
#define WANT(expression) \
  do {                   \
    if (!(expression)) { \
      why = #expression; \
      return 0;          \
    }                    \
  } while (0)

/* Appends the reply to `got`: +status -error :number text (nil) [a b]. */
static void render(const redisReply* r) {
  size_t at = strlen(got);
  char* to = got + at;
  size_t room = sizeof(got) - at;
  switch (r->type) {
    case REDIS_REPLY_STATUS:
      snprintf(to, room, "+%s", r->str);
      break;
    case REDIS_REPLY_ERROR:
      snprintf(to, room, "-%s", r->str);
      break;
    case REDIS_REPLY_INTEGER:
      snprintf(to, room, ":%lld", r->integer);
      break;
    case REDIS_REPLY_STRING:
      snprintf(to, room, "%s", r->str);
      break;
    case REDIS_REPLY_NIL:
      snprintf(to, room, "(nil)");
      break;
    default:
      strncat(got, "[", sizeof(got) - at - 1);
      for (size_t i = 0; i < r->elements; ++i) {
        if (i > 0) strncat(got, " ", sizeof(got) - strlen(got) - 1);
        render(r->element[i]);
      }
      strncat(got, "]", sizeof(got) - strlen(got) - 1);
  }
}

/* Frees the reply; its text is in `got`. */
static const char* text(redisReply* r) {
  got[0] = '\0';
  if (r == NULL) {
    snprintf(got, sizeof(got), "no reply: %s", c->errstr);
  } else {
    render(r);
    freeReplyObject(r);
  }
  return got;
}

static int is(redisReply* r, const char* want) { return strcmp(text(r), want) == 0; }

static int begins(redisReply* r, const char* want) {
  return strncmp(text(r), want, strlen(want)) == 0;
}

static redisReply* next_reply(void) {
  void* reply = NULL;
  return redisGetReply(c, &reply) == REDIS_OK ? reply : NULL;
}

static int hello(void) {
  WANT(begins(redisCommand(c, "HELLO"), "["));
  printf("hello %s\n", got);
  return 1;
}

static int strings(void) {
  static char big[kBig];
  for (size_t i = 0; i < kBig; ++i) big[i] = (char)i;
  WANT(is(redisCommand(c, "SET hi:s text"), "+OK"));
  WANT(is(redisCommand(c, "GET hi:s"), "text"));
  WANT(is(redisCommand(c, "SET hi:s %b", "", (size_t)0), "+OK"));
  WANT(is(redisCommand(c, "GET hi:s"), ""));
  WANT(is(redisCommand(c, "SET hi:s %b", big, (size_t)kBig), "+OK"));
  redisReply* r = redisCommand(c, "GET hi:s");
  int equal = r != NULL && r->type == REDIS_REPLY_STRING && r->len == kBig &&
              memcmp(r->str, big, kBig) == 0;
  if (r != NULL) freeReplyObject(r);
  WANT(equal);
  WANT(is(redisCommand(c, "GET hi:none"), "(nil)"));
  return 1;
}

static int counter(void) {
  WANT(is(redisCommand(c, "SET hi:n 1"), "+OK"));
  WANT(is(redisCommand(c, "INCR hi:n"), ":2"));
  WANT(is(redisCommand(c, "TTL hi:n"), ":-1"));
  WANT(is(redisCommand(c, "EXPIRE hi:n 100"), ":1"));
  WANT(begins(redisCommand(c, "TTL hi:n"), ":"));
  WANT(atoi(got + 1) > 90 && atoi(got + 1) <= 100);
  return 1;
}

/* One command over the fifty keys: "NAME hi:k0 …", with values "NAME hi:k0 hi:k0 …". */
static redisReply* over_keys(const char* name, int values) {
  static char keys[kKeys][16];
  const char* words[1 + 2 * kKeys];
  int n = 0;
  words[n++] = name;
  for (int i = 0; i < kKeys; ++i) {
    snprintf(keys[i], sizeof(keys[i]), "hi:k%d", i);
    words[n++] = keys[i];
    if (values) words[n++] = keys[i];
  }
  return redisCommandArgv(c, n, words, NULL);
}

static int many_keys(void) {
  char want[kKeys * 16] = "[";
  for (int i = 0; i < kKeys; ++i) sprintf(want + strlen(want), i ? " hi:k%d" : "hi:k%d", i);
  strcat(want, "]");
  WANT(is(over_keys("MSET", 1), "+OK"));
  WANT(is(over_keys("MGET", 0), want));
  WANT(is(redisCommand(c, "MGET hi:k7 hi:none hi:k3"), "[hi:k7 (nil) hi:k3]"));
  WANT(is(over_keys("EXISTS", 0), ":50"));
  WANT(is(over_keys("DEL", 0), ":50"));
  WANT(is(over_keys("DEL", 0), ":0"));
  return 1;
}

static int hash(void) {
  text(redisCommand(c, "DEL hi:h"));
  WANT(is(redisCommand(c, "HSET hi:h f v"), ":1"));
  WANT(is(redisCommand(c, "HGET hi:h f"), "v"));
  WANT(is(redisCommand(c, "HGETALL hi:h"), "[f v]"));
  return 1;
}

static int list(void) {
  text(redisCommand(c, "DEL hi:l"));
  WANT(is(redisCommand(c, "RPUSH hi:l a b c"), ":3"));
  WANT(is(redisCommand(c, "LRANGE hi:l 0 -1"), "[a b c]"));
  WANT(is(redisCommand(c, "LPOP hi:l"), "a"));
  return 1;
}

static int set(void) {
  text(redisCommand(c, "DEL hi:set"));
  WANT(is(redisCommand(c, "SADD hi:set 1 2"), ":2"));
  WANT(is(redisCommand(c, "SMEMBERS hi:set"), "[1 2]"));
  WANT(is(redisCommand(c, "SISMEMBER hi:set 1"), ":1"));
  return 1;
}

static int sorted_set(void) {
  text(redisCommand(c, "DEL hi:z"));
  WANT(is(redisCommand(c, "ZADD hi:z 1.5 m 2 n"), ":2"));
  WANT(is(redisCommand(c, "ZSCORE hi:z m"), "1.5"));
  WANT(is(redisCommand(c, "ZRANGE hi:z 0 -1 WITHSCORES"), "[m 1.5 n 2]"));
  return 1;
}

static int hscan(void) {
  char cursor[32] = "0";
  int seen = 0;
  text(redisCommand(c, "DEL hi:big"));
  for (int i = 0; i < 1000; ++i) WANT(is(redisCommand(c, "HSET hi:big f%d v", i), ":1"));
  do {
    redisReply* r = redisCommand(c, "HSCAN hi:big %s", cursor);
    WANT(r != NULL && r->type == REDIS_REPLY_ARRAY && r->elements == 2);
    snprintf(cursor, sizeof(cursor), "%s", r->element[0]->str);
    seen += (int)r->element[1]->elements / 2;
    freeReplyObject(r);
  } while (strcmp(cursor, "0") != 0);
  WANT(seen == 1000);
  return 1;
}

static int pipeline(void) {
  for (int i = 0; i < 500; ++i) {
    redisAppendCommand(c, "SET hi:p%d %d", i, i);
    redisAppendCommand(c, "GET hi:p%d", i);
  }
  for (int i = 0; i < 500; ++i) {
    char number[16];
    snprintf(number, sizeof(number), "%d", i);
    WANT(is(next_reply(), "+OK"));
    WANT(is(next_reply(), number));
  }
  return 1;
}

static int multi(void) {
  text(redisCommand(c, "DEL {hi}t {hi}u"));
  WANT(is(redisCommand(c, "MULTI"), "+OK"));
  WANT(is(redisCommand(c, "INCR {hi}t"), "+QUEUED"));
  WANT(is(redisCommand(c, "SET {hi}u x"), "+QUEUED"));
  WANT(is(redisCommand(c, "GET {hi}t"), "+QUEUED"));
  WANT(is(redisCommand(c, "EXEC"), "[:1 +OK 1]"));
  return 1;
}

static int watch(void) {
  WANT(is(redisCommand(c, "SET {hi}w 1"), "+OK"));
  WANT(is(redisCommand(c, "WATCH {hi}w"), "+OK"));
  WANT(is(redisCommand(c, "GET {hi}w"), "1"));
  int next = atoi(got) + 1;
  WANT(is(redisCommand(c, "MULTI"), "+OK"));
  WANT(is(redisCommand(c, "SET {hi}w %d", next), "+QUEUED"));
  WANT(is(redisCommand(c, "EXEC"), "[+OK]"));
  WANT(is(redisCommand(c, "GET {hi}w"), "2"));
  return 1;
}

static int watch_conflict(void) {
  WANT(is(redisCommand(c, "WATCH {hi}w"), "+OK"));
  WANT(is(redisCommand(other, "SET {hi}w 9"), "+OK"));
  WANT(is(redisCommand(c, "MULTI"), "+OK"));
  WANT(is(redisCommand(c, "SET {hi}w 3"), "+QUEUED"));
  WANT(is(redisCommand(c, "EXEC"), "(nil)"));
  WANT(is(redisCommand(c, "GET {hi}w"), "9"));
  return 1;
}

static int blpop(void) {
  int sent = 0;
  text(redisCommand(c, "DEL {hi}q"));
  redisAppendCommand(c, "BLPOP {hi}q 5");
  while (!sent) WANT(redisBufferWrite(c, &sent) == REDIS_OK);
  usleep(200 * 1000);
  WANT(is(redisCommand(other, "LPUSH {hi}q job"), ":1"));
  WANT(is(next_reply(), "[{hi}q job]"));
  return 1;
}

static int blpop_timeout(void) {
  WANT(is(redisCommand(c, "BLPOP {hi}q 0.3"), "(nil)"));
  return 1;
}

static int eval(void) {
  WANT(is(redisCommand(c, "EVAL %s 1 hi:e x", "return {KEYS[1],ARGV[1]}"), "[hi:e x]"));
  return 1;
}

static int unknown_command(void) {
  WANT(begins(redisCommand(c, "NOSUCHCOMMAND x"), "-ERR unknown command"));
  WANT(c->err == 0 && is(redisCommand(c, "PING"), "+PONG"));
  return 1;
}

static int wrongtype(void) {
  text(redisCommand(c, "DEL hi:l"));
  WANT(is(redisCommand(c, "RPUSH hi:l x"), ":1"));
  WANT(begins(redisCommand(c, "INCR hi:l"), "-WRONGTYPE"));
  WANT(is(redisCommand(c, "LPOP hi:l"), "x"));
  return 1;
}

static int select_and_name(void) {
  WANT(is(redisCommand(c, "SELECT 0"), "+OK"));
  WANT(is(redisCommand(c, "CLIENT SETNAME cashew"), "+OK"));
  WANT(is(redisCommand(c, "CLIENT GETNAME"), "cashew"));
  return 1;
}

static int reconnect(void) {
  WANT(is(redisCommand(c, "QUIT"), "+OK"));
  WANT(redisCommand(c, "PING") == NULL && c->err != 0);
  WANT(redisReconnect(c) == REDIS_OK);
  WANT(is(redisCommand(c, "PING"), "+PONG"));
  return 1;
}

static const struct {
  const char* name;
  int (*run)(void);
} kSteps[] = {
    {"HELLO", hello},
    {"strings", strings},
    {"counter", counter},
    {"many keys", many_keys},
    {"hash", hash},
    {"list", list},
    {"set", set},
    {"sorted set", sorted_set},
    {"HSCAN", hscan},
    {"pipeline of 1,000", pipeline},
    {"MULTI", multi},
    {"WATCH", watch},
    {"WATCH conflict", watch_conflict},
    {"BLPOP", blpop},
    {"BLPOP time-out", blpop_timeout},
    {"EVAL", eval},
    {"unknown command", unknown_command},
    {"WRONGTYPE", wrongtype},
    {"SELECT and name", select_and_name},
    {"reconnect", reconnect},
};

int main(int argc, char** argv) {
  int passed = 0;
  int failed = 0;
  if (argc < 3) return 2;
  c = redisConnect(argv[1], atoi(argv[2]));
  other = redisConnect(argv[1], atoi(argv[2]));
  if (c == NULL || c->err || other == NULL || other->err) {
    printf("FAIL connect %s\n0 passed, 1 failed\n", c ? c->errstr : "no memory");
    return 1;
  }
  for (size_t i = 0; i < sizeof(kSteps) / sizeof(kSteps[0]); ++i) {
    if (kSteps[i].run()) {
      ++passed;
      printf("ok %s\n", kSteps[i].name);
    } else {
      ++failed;
      printf("FAIL %s %s: got %.200s\n", kSteps[i].name, why, got);
    }
  }
  redisFree(c);
  redisFree(other);
  printf("library hiredis %d.%d.%d\n%d passed, %d failed\n", HIREDIS_MAJOR, HIREDIS_MINOR,
         HIREDIS_PATCH, passed, failed);
  return failed ? 1 : 0;
}
