/* hiredis with its default settings. usage: client HOST PORT */
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int passed, failed;

static void step(const char* name, int ok, const char* why) {
  if (ok) {
    ++passed;
    printf("ok %s\n", name);
  } else {
    ++failed;
    printf("FAIL %s %s\n", name, why);
  }
}

/* The reply must be of `type`; with `text`, be it or begin with it; with number, be that. */
static int is(redisReply* r, int type, const char* text, long long number) {
  int ok = r != NULL && r->type == type;
  if (ok && text != NULL) ok = r->str != NULL && strncmp(r->str, text, strlen(text)) == 0;
  if (ok && type == REDIS_REPLY_INTEGER) ok = r->integer == number;
  if (r != NULL) freeReplyObject(r);
  return ok;
}

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  redisContext* c = redisConnect(argv[1], atoi(argv[2]));
  if (c == NULL || c->err) {
    printf("FAIL connect %s\n0 passed, 1 failed\n", c ? c->errstr : "no memory");
    return 1;
  }
  step("PING", is(redisCommand(c, "PING"), REDIS_REPLY_STATUS, "PONG", 0), c->errstr);
  step("SET", is(redisCommand(c, "SET hi:a %b", "a\0b", (size_t)3), REDIS_REPLY_STATUS, "OK", 0),
       c->errstr);
  redisReply* r = redisCommand(c, "GET hi:a");
  step("GET", r && r->type == REDIS_REPLY_STRING && r->len == 3 && !memcmp(r->str, "a\0b", 3),
       c->errstr);
  if (r) freeReplyObject(r);
  step("nil", is(redisCommand(c, "GET hi:none"), REDIS_REPLY_NIL, NULL, 0), c->errstr);
  step("MSET", is(redisCommand(c, "MSET hi:1 1 hi:2 2 hi:3 3 hi:4 4"), REDIS_REPLY_STATUS, "OK", 0),
       c->errstr);
  r = redisCommand(c, "MGET hi:4 hi:none hi:1");
  step("MGET", r && r->type == REDIS_REPLY_ARRAY && r->elements == 3 &&
                   !strcmp(r->element[0]->str, "4") && r->element[1]->type == REDIS_REPLY_NIL,
       c->errstr);
  if (r) freeReplyObject(r);
  step("DEL", is(redisCommand(c, "DEL hi:1 hi:2 hi:3 hi:4"), REDIS_REPLY_INTEGER, NULL, 4),
       c->errstr);
  int ok = 1;
  for (int i = 0; i < 1000; ++i) redisAppendCommand(c, "SET hi:p%d %d", i, i);
  for (int i = 0; i < 1000; ++i) {
    void* reply = NULL;
    ok = ok && redisGetReply(c, &reply) == REDIS_OK;
    ok = is(reply, REDIS_REPLY_STATUS, "OK", 0) && ok;
  }
  step("pipeline", ok, c->errstr);
  ok = is(redisCommand(c, "MULTI"), REDIS_REPLY_STATUS, "OK", 0) &&
       is(redisCommand(c, "SET {hi}t 1"), REDIS_REPLY_STATUS, "QUEUED", 0) &&
       is(redisCommand(c, "INCR {hi}t"), REDIS_REPLY_STATUS, "QUEUED", 0);
  r = redisCommand(c, "EXEC");
  ok = ok && r && r->type == REDIS_REPLY_ARRAY && r->elements == 2 && r->element[1]->integer == 2;
  if (r) freeReplyObject(r);
  step("MULTI", ok, c->errstr);
  ok = is(redisCommand(c, "WATCH {hi}t"), REDIS_REPLY_STATUS, "OK", 0) &&
       is(redisCommand(c, "MULTI"), REDIS_REPLY_STATUS, "OK", 0) &&
       is(redisCommand(c, "INCR {hi}t"), REDIS_REPLY_STATUS, "QUEUED", 0);
  r = redisCommand(c, "EXEC");
  ok = ok && r && r->type == REDIS_REPLY_ARRAY && r->elements == 1;
  if (r) freeReplyObject(r);
  step("WATCH", ok, c->errstr);
  step("BLPOP", is(redisCommand(c, "BLPOP {hi}nothing 0.2"), REDIS_REPLY_NIL, NULL, 0), c->errstr);
  r = redisCommand(c, "EVAL %s 1 hi:e x", "return {KEYS[1],ARGV[1]}");
  step("EVAL", r && r->type == REDIS_REPLY_ARRAY && r->elements == 2, c->errstr);
  if (r) freeReplyObject(r);
  step("unknown command", is(redisCommand(c, "NOSUCHCOMMAND x"), REDIS_REPLY_ERROR, "ERR unknown", 0),
       c->errstr);
  freeReplyObject(redisCommand(c, "DEL hi:l"));
  freeReplyObject(redisCommand(c, "LPUSH hi:l x"));
  step("WRONGTYPE", is(redisCommand(c, "INCR hi:l"), REDIS_REPLY_ERROR, "WRONGTYPE", 0), c->errstr);
  step("SELECT 0", is(redisCommand(c, "SELECT 0"), REDIS_REPLY_STATUS, "OK", 0), c->errstr);
  step("reconnect", redisReconnect(c) == REDIS_OK && is(redisCommand(c, "PING"), REDIS_REPLY_STATUS,
                                                       "PONG", 0),
       c->errstr);
  redisFree(c);
  printf("library hiredis %d.%d.%d\n%d passed, %d failed\n", HIREDIS_MAJOR, HIREDIS_MINOR,
         HIREDIS_PATCH, passed, failed);
  return failed ? 1 : 0;
}
