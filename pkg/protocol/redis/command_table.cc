#include "pkg/protocol/redis/command_table.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <string_view>

namespace cashew::protocol::redis {
namespace {

using H = Handling;
using K = KeySpec;

// What a command does to its keys.
enum Access : uint8_t {
  kRead,
  kWrite,
  kValue,  // writes, and may carry much
};

constexpr int8_t kNo = kNutcrackerNo;
constexpr int8_t kAny = kNutcrackerAny;
constexpr int8_t kPairs = kNutcrackerPairs;
constexpr int8_t kScriptNc = kNutcrackerScript;

constexpr CommandSpec Row(std::string_view name, int arity, Handling handling, Effect effect,
                          KeySpec keys, int first, int last, int step, Access access,
                          int nutcracker, std::string_view refusal = "") {
  return {name,
          static_cast<int16_t>(arity),
          handling,
          effect,
          keys,
          static_cast<int8_t>(first),
          static_cast<int8_t>(last),
          static_cast<int8_t>(step),
          access == kRead,
          access == kValue,
          static_cast<int8_t>(nutcracker),
          refusal,
          name == "get" || name == "mget" || name == "getex" || name == "getdel"};
}

constexpr CommandSpec KeysAt(std::string_view name, int arity, Access access, int first, int last,
                             int step, int nutcracker = kNo) {
  return Row(name, arity, H::kForward, Effect::kNone, K::kRange, first, last, step, access,
             nutcracker);
}
// The usual: one key, right behind the name.
constexpr CommandSpec OneKey(std::string_view name, int arity, Access access,
                             int nutcracker = kNo) {
  return KeysAt(name, arity, access, 1, 1, 1, nutcracker);
}
// Keys wherever `keys` says.
constexpr CommandSpec Keyed(std::string_view name, int arity, Access access, KeySpec keys,
                            int first = 0, int nutcracker = kNo) {
  return Row(name, arity, H::kForward, Effect::kNone, keys, first, 0, 0, access, nutcracker);
}
constexpr CommandSpec SplitList(std::string_view name, int arity, Access access, int nutcracker) {
  return Row(name, arity, H::kSplitList, Effect::kNone, K::kRange, 1, -1, 1, access, nutcracker);
}
constexpr CommandSpec SplitSum(std::string_view name, int arity, Access access, int nutcracker) {
  return Row(name, arity, H::kSplitSum, Effect::kNone, K::kRange, 1, -1, 1, access, nutcracker);
}
constexpr CommandSpec SplitOk(std::string_view name, int arity, Access access, int nutcracker) {
  return Row(name, arity, H::kSplitOk, Effect::kNone, K::kRange, 1, -1, 2, access, nutcracker);
}
constexpr CommandSpec Blocking(std::string_view name, int arity, int first, int last) {
  return Row(name, arity, H::kBlocking, Effect::kBlocks, K::kRange, first, last, 1, kWrite, kNo);
}
constexpr CommandSpec BlockingKeyed(std::string_view name, int arity, Access access, KeySpec keys,
                                    int first) {
  return Row(name, arity, H::kBlocking, Effect::kBlocks, keys, first, 0, 0, access, kNo);
}
constexpr CommandSpec Local(std::string_view name, int arity, Effect effect = Effect::kNone,
                            int nutcracker = kNo) {
  return Row(name, arity, H::kLocal, effect, K::kNone, 0, 0, 0, kRead, nutcracker);
}
constexpr CommandSpec Transaction(std::string_view name, int arity) {
  return Row(name, arity, H::kTransaction, Effect::kTransaction, K::kNone, 0, 0, 0, kWrite, kNo);
}
// Sent to every server, for those who ask for it.
constexpr CommandSpec Cluster(std::string_view name, int arity, Access access) {
  return Row(name, arity, H::kCluster, Effect::kNone, K::kNone, 0, 0, 0, access, kNo);
}
constexpr CommandSpec Dangerous(std::string_view name, int arity, Access access) {
  return Row(name, arity, H::kDangerous, Effect::kNone, K::kNone, 0, 0, 0, access, kNo);
}
constexpr CommandSpec Refused(std::string_view name, Effect effect, std::string_view why) {
  return Row(name, -1, H::kRefused, effect, K::kNone, 0, 0, 0, kWrite, kNo, why);
}

constexpr std::string_view kAdmin =
    "this is administration of one server: connect to that server, not to the proxy";
constexpr std::string_view kPubSub =
    "pub/sub is not possible through the proxy: subscribe at a server";
constexpr std::string_view kReplication = "replication is between servers, not through the proxy";
constexpr std::string_view kOfConnection =
    "this would change a server connection that many clients share";
constexpr std::string_view kOfDatabase = "this speaks of other databases: a pool has one";
constexpr std::string_view kOfCluster = "the proxy's pool is not a Redis Cluster";
constexpr std::string_view kTracking =
    "client-side caching needs a server connection of its own: not through the proxy";
constexpr std::string_view kFunctions =
    "functions belong to a server: load them at each server, then FCALL works";
constexpr std::string_view kScripts = "connect to the server whose script it is";
constexpr std::string_view kWaits =
    "the proxy shares its server connections, so a server cannot know which writes were yours";
constexpr std::string_view kByLabel =
    "series are found by label at one server: ask each server, not the proxy";
constexpr std::string_view kHelp = "no help here; see the documentation of redis";

// Arities and key positions: redis 7.0's COMMAND, and the documentation of what is newer.
// The tests hold every row against a real server.
constexpr CommandSpec kCommands[] = {
    // Keys.
    KeysAt("copy", -3, kValue, 1, 2, 1, kAny),
    SplitSum("del", -2, kWrite, kAny),
    OneKey("dump", 2, kRead, 0),
    SplitSum("exists", -2, kRead, kAny),
    OneKey("expire", -3, kWrite, 1),
    OneKey("expireat", -3, kWrite, 1),
    OneKey("expiretime", 2, kRead),
    KeysAt("memory|usage", -3, kRead, 2, 2, 1),
    KeysAt("object|encoding", 3, kRead, 2, 2, 1),
    KeysAt("object|freq", 3, kRead, 2, 2, 1),
    KeysAt("object|idletime", 3, kRead, 2, 2, 1),
    KeysAt("object|refcount", 3, kRead, 2, 2, 1),
    OneKey("persist", 2, kWrite, 0),
    OneKey("pexpire", -3, kWrite, 1),
    OneKey("pexpireat", -3, kWrite, 1),
    OneKey("pexpiretime", 2, kRead),
    OneKey("pttl", 2, kRead, 0),
    KeysAt("rename", 3, kWrite, 1, 2, 1),
    KeysAt("renamenx", 3, kWrite, 1, 2, 1),
    OneKey("restore", -4, kValue, kAny),
    SplitSum("touch", -2, kRead, kAny),
    OneKey("ttl", 2, kRead, 0),
    OneKey("type", 2, kRead, 0),
    SplitSum("unlink", -2, kWrite, kAny),
    Keyed("sort", -2, kValue, K::kSort, 1, kAny),
    OneKey("sort_ro", -2, kRead),
    Refused("move", Effect::kDatabase, kOfDatabase),
    Refused("migrate", Effect::kServer, kAdmin),
    Refused("restore-asking", Effect::kServer, kOfCluster),
    Refused("wait", Effect::kBlocks, kWaits),
    Refused("waitaof", Effect::kBlocks, kWaits),

    // Strings and bitmaps.
    OneKey("append", 3, kValue, 1),
    OneKey("decr", 2, kValue, 0),
    OneKey("decrby", 3, kValue, 1),
    OneKey("get", 2, kRead, 0),
    OneKey("getdel", 2, kWrite, 0),
    OneKey("getex", -2, kWrite, kAny),
    OneKey("getrange", 4, kRead, 2),
    OneKey("getset", 3, kValue, 1),
    OneKey("incr", 2, kValue, 0),
    OneKey("incrby", 3, kValue, 1),
    OneKey("incrbyfloat", 3, kValue, 1),
    KeysAt("lcs", -3, kRead, 1, 2, 1),
    SplitList("mget", -2, kRead, kAny),
    SplitOk("mset", -3, kValue, kPairs),
    KeysAt("msetnx", -3, kValue, 1, -1, 2),
    // Redis 8.4: numkeys, then keys with values.
    Row("msetex", -4, H::kForward, Effect::kNone, K::kNumkeys, 1, 0, 2, kValue, kNo),
    OneKey("psetex", 4, kValue, 2),
    OneKey("set", -3, kValue, kAny),
    OneKey("setex", 4, kValue, 2),
    OneKey("setnx", 3, kValue, 1),
    OneKey("setrange", 4, kValue, 2),
    OneKey("strlen", 2, kRead, 0),
    OneKey("substr", 4, kRead),
    OneKey("bitcount", -2, kRead, kAny),
    OneKey("bitfield", -2, kValue, kAny),
    OneKey("bitfield_ro", -2, kRead),
    KeysAt("bitop", -4, kValue, 2, -1, 1),
    OneKey("bitpos", -3, kRead, kAny),
    OneKey("getbit", 3, kRead, 1),
    OneKey("setbit", 4, kValue, 2),
    OneKey("delifeq", 3, kWrite),  // Valkey 9
    OneKey("delex", -2, kWrite),   // Redis 8.4
    OneKey("digest", 2, kRead),    // Redis 8.4

    // Hashes.
    OneKey("hdel", -3, kWrite, kAny),
    OneKey("hexists", 3, kRead, 1),
    OneKey("hget", 3, kRead, 1),
    OneKey("hgetall", 2, kRead, 0),
    OneKey("hincrby", 4, kValue, 2),
    OneKey("hincrbyfloat", 4, kValue, 2),
    OneKey("hkeys", 2, kRead, 0),
    OneKey("hlen", 2, kRead, 0),
    OneKey("hmget", -3, kRead, kAny),
    OneKey("hmset", -4, kValue, kAny),
    OneKey("hrandfield", -2, kRead, kAny),
    OneKey("hscan", -3, kRead, kAny),
    OneKey("hset", -4, kValue, kAny),
    OneKey("hsetnx", 4, kValue, 2),
    OneKey("hstrlen", 3, kRead, 1),
    OneKey("hvals", 2, kRead, 0),
    // Since 7.4 and 8.0: fields that expire.
    OneKey("hexpire", -6, kWrite),
    OneKey("hexpireat", -6, kWrite),
    OneKey("hexpiretime", -5, kRead),
    OneKey("hgetdel", -5, kWrite),
    OneKey("hgetex", -5, kWrite),
    OneKey("hpersist", -5, kWrite),
    OneKey("hpexpire", -6, kWrite),
    OneKey("hpexpireat", -6, kWrite),
    OneKey("hpexpiretime", -5, kRead),
    OneKey("hpttl", -5, kRead),
    OneKey("hsetex", -6, kValue),
    OneKey("httl", -5, kRead),

    // Lists.
    Blocking("blmove", 6, 1, 2),
    Blocking("blpop", -3, 1, -2),
    Blocking("brpop", -3, 1, -2),
    Blocking("brpoplpush", 4, 1, 2),
    OneKey("lindex", 3, kRead, 1),
    OneKey("linsert", 5, kValue, 3),
    OneKey("llen", 2, kRead, 0),
    KeysAt("lmove", 5, kValue, 1, 2, 1, 3),
    OneKey("lpop", -2, kWrite, kAny),
    OneKey("lpos", -3, kRead, kAny),
    OneKey("lpush", -3, kValue, kAny),
    OneKey("lpushx", -3, kValue, kAny),
    OneKey("lrange", 4, kRead, 2),
    OneKey("lrem", 4, kWrite, 2),
    OneKey("lset", 4, kValue, 2),
    OneKey("ltrim", 4, kWrite, 2),
    OneKey("rpop", -2, kWrite, kAny),
    KeysAt("rpoplpush", 3, kValue, 1, 2, 1, 1),
    OneKey("rpush", -3, kValue, kAny),
    OneKey("rpushx", -3, kValue, kAny),
    Keyed("lmpop", -4, kWrite, K::kNumkeys, 1),
    BlockingKeyed("blmpop", -5, kWrite, K::kNumkeys, 2),

    // Sets.
    OneKey("sadd", -3, kValue, kAny),
    OneKey("scard", 2, kRead, 0),
    KeysAt("sdiff", -2, kRead, 1, -1, 1, kAny),
    KeysAt("sdiffstore", -3, kValue, 1, -1, 1, kAny),
    KeysAt("sinter", -2, kRead, 1, -1, 1, kAny),
    KeysAt("sinterstore", -3, kValue, 1, -1, 1, kAny),
    OneKey("sismember", 3, kRead, 1),
    OneKey("smembers", 2, kRead, 0),
    OneKey("smismember", -3, kRead, kAny),
    KeysAt("smove", 4, kWrite, 1, 2, 1, 2),
    OneKey("spop", -2, kWrite, kAny),
    OneKey("srandmember", -2, kRead, kAny),
    OneKey("srem", -3, kWrite, kAny),
    OneKey("sscan", -3, kRead, kAny),
    KeysAt("sunion", -2, kRead, 1, -1, 1, kAny),
    KeysAt("sunionstore", -3, kValue, 1, -1, 1, kAny),
    Keyed("sintercard", -3, kRead, K::kNumkeys, 1),

    // Sorted sets.
    Blocking("bzpopmax", -3, 1, -2),
    Blocking("bzpopmin", -3, 1, -2),
    OneKey("zadd", -4, kValue, kAny),
    OneKey("zcard", 2, kRead, 0),
    OneKey("zcount", 4, kRead, 2),
    OneKey("zincrby", 4, kValue, 2),
    OneKey("zlexcount", 4, kRead, 2),
    OneKey("zmscore", -3, kRead, kAny),
    OneKey("zpopmax", -2, kWrite, kAny),
    OneKey("zpopmin", -2, kWrite, kAny),
    OneKey("zrandmember", -2, kRead, kAny),
    OneKey("zrange", -4, kRead, kAny),
    OneKey("zrangebylex", -4, kRead, kAny),
    OneKey("zrangebyscore", -4, kRead, kAny),
    KeysAt("zrangestore", -5, kValue, 1, 2, 1, kAny),
    OneKey("zrank", -3, kRead, 1),
    OneKey("zrem", -3, kWrite, kAny),
    OneKey("zremrangebylex", 4, kWrite, 2),
    OneKey("zremrangebyrank", 4, kWrite, 2),
    OneKey("zremrangebyscore", 4, kWrite, 2),
    OneKey("zrevrange", -4, kRead, kAny),
    OneKey("zrevrangebylex", -4, kRead, kAny),
    OneKey("zrevrangebyscore", -4, kRead, kAny),
    OneKey("zrevrank", -3, kRead, 1),
    OneKey("zscan", -3, kRead, kAny),
    OneKey("zscore", 3, kRead, 1),
    Keyed("zdiff", -3, kRead, K::kNumkeys, 1, kAny),
    Keyed("zdiffstore", -4, kValue, K::kDestNumkeys, 2, kAny),
    Keyed("zinter", -3, kRead, K::kNumkeys, 1, kAny),
    Keyed("zintercard", -3, kRead, K::kNumkeys, 1),
    Keyed("zinterstore", -4, kValue, K::kDestNumkeys, 2, kAny),
    Keyed("zunion", -3, kRead, K::kNumkeys, 1, kAny),
    Keyed("zunionstore", -4, kValue, K::kDestNumkeys, 2, kAny),
    Keyed("zmpop", -4, kWrite, K::kNumkeys, 1),
    BlockingKeyed("bzmpop", -5, kWrite, K::kNumkeys, 2),

    // Streams.
    OneKey("xack", -4, kWrite),
    OneKey("xadd", -5, kValue),
    OneKey("xautoclaim", -6, kWrite),
    OneKey("xclaim", -6, kWrite),
    OneKey("xdel", -3, kWrite),
    KeysAt("xgroup|create", -5, kValue, 2, 2, 1),
    KeysAt("xgroup|createconsumer", 5, kValue, 2, 2, 1),
    KeysAt("xgroup|delconsumer", 5, kWrite, 2, 2, 1),
    KeysAt("xgroup|destroy", 4, kWrite, 2, 2, 1),
    KeysAt("xgroup|setid", -5, kWrite, 2, 2, 1),
    KeysAt("xinfo|consumers", 4, kRead, 2, 2, 1),
    KeysAt("xinfo|groups", 3, kRead, 2, 2, 1),
    KeysAt("xinfo|stream", -3, kRead, 2, 2, 1),
    OneKey("xlen", 2, kRead),
    OneKey("xpending", -3, kRead),
    OneKey("xrange", -4, kRead),
    OneKey("xrevrange", -4, kRead),
    OneKey("xsetid", -3, kValue),
    OneKey("xtrim", -4, kWrite),
    // These block when BLOCK says so; else they go on a shared connection.
    Row("xread", -4, H::kForward, Effect::kNone, K::kStreams, 0, 0, 0, kRead, kNo),
    Row("xreadgroup", -7, H::kForward, Effect::kNone, K::kStreams, 0, 0, 0, kWrite, kNo),
    OneKey("xackdel", -6, kWrite),  // Redis 8.2
    OneKey("xdelex", -5, kWrite),

    // Geo.
    OneKey("geoadd", -5, kValue, kAny),
    OneKey("geodist", -4, kRead, kAny),
    OneKey("geohash", -2, kRead, kAny),
    OneKey("geopos", -2, kRead, kAny),
    OneKey("georadius_ro", -6, kRead),
    OneKey("georadiusbymember_ro", -5, kRead),
    OneKey("geosearch", -7, kRead, kAny),
    KeysAt("geosearchstore", -8, kValue, 1, 2, 1, kAny),
    Keyed("georadius", -6, kValue, K::kGeoradius, 1, kAny),
    Keyed("georadiusbymember", -5, kValue, K::kGeoradius, 1, kAny),

    // HyperLogLog.
    OneKey("pfadd", -2, kValue, kAny),
    KeysAt("pfcount", -2, kRead, 1, -1, 1, kAny),
    KeysAt("pfmerge", -2, kValue, 1, -1, 1, kAny),

    // Scripts: whatever they do, they do not touch the connection.
    Keyed("eval", -3, kValue, K::kScript, 2, kScriptNc),
    Keyed("evalsha", -3, kValue, K::kScript, 2, kScriptNc),
    Keyed("eval_ro", -3, kRead, K::kScript, 2),
    Keyed("evalsha_ro", -3, kRead, K::kScript, 2),
    Keyed("fcall", -3, kValue, K::kScript, 2),
    Keyed("fcall_ro", -3, kRead, K::kScript, 2),

    // Vector sets (Redis 8).
    OneKey("vadd", -5, kValue),
    OneKey("vcard", 2, kRead),
    OneKey("vdim", 2, kRead),
    OneKey("vemb", -3, kRead),
    OneKey("vgetattr", 3, kRead),
    OneKey("vinfo", 2, kRead),
    OneKey("vismember", 3, kRead),
    OneKey("vlinks", -3, kRead),
    OneKey("vrandmember", -2, kRead),
    OneKey("vrange", -4, kRead),
    OneKey("vrem", 3, kWrite),
    OneKey("vsetattr", 4, kValue),
    OneKey("vsim", -4, kRead),

    // What Redis 8 has built in and older servers have by modules: JSON, probabilistic
    // structures, time series.
    OneKey("json.arrappend", -3, kValue),
    OneKey("json.arrindex", -4, kRead),
    OneKey("json.arrinsert", -5, kValue),
    OneKey("json.arrlen", -2, kRead),
    OneKey("json.arrpop", -2, kWrite),
    OneKey("json.arrtrim", 5, kWrite),
    OneKey("json.clear", -2, kWrite),
    OneKey("json.del", -2, kWrite),
    OneKey("json.forget", -2, kWrite),
    OneKey("json.get", -2, kRead),
    OneKey("json.merge", 4, kValue),
    OneKey("json.numincrby", 4, kWrite),
    OneKey("json.nummultby", 4, kWrite),
    OneKey("json.objkeys", -2, kRead),
    OneKey("json.objlen", -2, kRead),
    OneKey("json.resp", -2, kRead),
    OneKey("json.set", -4, kValue),
    OneKey("json.strappend", -3, kValue),
    OneKey("json.strlen", -2, kRead),
    OneKey("json.toggle", 3, kWrite),
    OneKey("json.type", -2, kRead),
    KeysAt("json.mget", -3, kRead, 1, -2, 1),
    KeysAt("json.mset", -4, kValue, 1, -1, 3),
    KeysAt("json.debug|memory", -3, kRead, 2, 2, 1),
    OneKey("bf.add", 3, kWrite),
    OneKey("bf.card", 2, kRead),
    OneKey("bf.exists", 3, kRead),
    OneKey("bf.info", -2, kRead),
    OneKey("bf.insert", -4, kValue),
    OneKey("bf.loadchunk", 4, kValue),
    OneKey("bf.madd", -3, kValue),
    OneKey("bf.mexists", -3, kRead),
    OneKey("bf.reserve", -4, kWrite),
    OneKey("bf.scandump", 3, kRead),
    OneKey("cf.add", 3, kWrite),
    OneKey("cf.addnx", 3, kWrite),
    OneKey("cf.compact", 2, kWrite),
    OneKey("cf.count", 3, kRead),
    OneKey("cf.del", 3, kWrite),
    OneKey("cf.exists", 3, kRead),
    OneKey("cf.info", 2, kRead),
    OneKey("cf.insert", -4, kValue),
    OneKey("cf.insertnx", -4, kValue),
    OneKey("cf.loadchunk", 4, kValue),
    OneKey("cf.mexists", -3, kRead),
    OneKey("cf.reserve", -3, kWrite),
    OneKey("cf.scandump", 3, kRead),
    OneKey("cms.incrby", -4, kWrite),
    OneKey("cms.info", 2, kRead),
    OneKey("cms.initbydim", 4, kWrite),
    OneKey("cms.initbyprob", 4, kWrite),
    OneKey("cms.query", -3, kRead),
    Keyed("cms.merge", -4, kWrite, K::kDestNumkeys, 2),
    OneKey("topk.add", -3, kWrite),
    OneKey("topk.count", -3, kRead),
    OneKey("topk.incrby", -4, kWrite),
    OneKey("topk.info", 2, kRead),
    OneKey("topk.list", -2, kRead),
    OneKey("topk.query", -3, kRead),
    OneKey("topk.reserve", -3, kWrite),
    OneKey("tdigest.add", -3, kValue),
    OneKey("tdigest.byrank", -3, kRead),
    OneKey("tdigest.byrevrank", -3, kRead),
    OneKey("tdigest.cdf", -3, kRead),
    OneKey("tdigest.create", -2, kWrite),
    OneKey("tdigest.info", 2, kRead),
    OneKey("tdigest.max", 2, kRead),
    OneKey("tdigest.min", 2, kRead),
    OneKey("tdigest.quantile", -3, kRead),
    OneKey("tdigest.rank", -3, kRead),
    OneKey("tdigest.reset", 2, kWrite),
    OneKey("tdigest.revrank", -3, kRead),
    OneKey("tdigest.trimmed_mean", 4, kRead),
    Keyed("tdigest.merge", -4, kWrite, K::kDestNumkeys, 2),
    OneKey("ts.add", -4, kWrite),
    OneKey("ts.alter", -2, kWrite),
    OneKey("ts.create", -2, kWrite),
    OneKey("ts.decrby", -3, kWrite),
    OneKey("ts.del", 4, kWrite),
    OneKey("ts.get", -2, kRead),
    OneKey("ts.incrby", -3, kWrite),
    OneKey("ts.info", -2, kRead),
    OneKey("ts.range", -4, kRead),
    OneKey("ts.revrange", -4, kRead),
    KeysAt("ts.createrule", -6, kWrite, 1, 2, 1),
    KeysAt("ts.deleterule", 3, kWrite, 1, 2, 1),
    KeysAt("ts.madd", -4, kValue, 1, -1, 3),
    Refused("ts.mget", Effect::kServer, kByLabel),
    Refused("ts.mrange", Effect::kServer, kByLabel),
    Refused("ts.mrevrange", Effect::kServer, kByLabel),
    Refused("ts.queryindex", Effect::kServer, kByLabel),

    // Without a key: of the connection, or of the proxy.
    Local("ping", -1, Effect::kNone, kNutcrackerAlone),
    Local("echo", 2),
    Local("quit", -1, Effect::kCloses, kNutcrackerAlone),
    Local("reset", 1, Effect::kProtocol),
    Local("auth", -2, Effect::kLogin, kNutcrackerOne),
    Local("hello", -1, Effect::kProtocol),
    Local("select", 2, Effect::kDatabase),
    Local("time", 1),
    Local("info", -1),
    Local("readonly", 1, Effect::kName),
    Local("readwrite", 1, Effect::kName),
    Local("client|getname", 2, Effect::kName),
    Local("client|setname", 3, Effect::kName),
    Local("client|setinfo", 4, Effect::kName),
    Local("client|id", 2),
    Local("client|info", 2),
    Local("client|list", -2),
    Local("client|no-evict", 3, Effect::kName),
    Local("client|no-touch", 3, Effect::kName),
    Local("client|getredir", 2),
    Local("command", -1, Effect::kNone, kNutcrackerAlone),
    Local("command|count", 2),
    Local("command|docs", -2),
    Local("command|info", -2),
    Local("command|list", -2),
    Local("command|getkeys", -3),
    Row("lolwut", -1, H::kForward, Effect::kNone, K::kNone, 0, 0, 0, kRead, kNutcrackerFree),

    Transaction("multi", 1),
    Transaction("exec", 1),
    Transaction("discard", 1),
    Row("watch", -2, H::kTransaction, Effect::kTransaction, K::kRange, 1, -1, 1, kRead, kNo),
    Transaction("unwatch", 1),

    Cluster("dbsize", 1, kRead),
    Cluster("scan", -2, kRead),
    Cluster("randomkey", 1, kRead),
    Cluster("script|load", 3, kValue),
    Cluster("script|exists", -3, kRead),
    Dangerous("keys", 2, kRead),
    Dangerous("flushdb", -1, kWrite),
    Dangerous("flushall", -1, kWrite),
    Dangerous("script|flush", -2, kWrite),

    // Refused, each with its reason.
    Refused("subscribe", Effect::kReplies, kPubSub),
    Refused("unsubscribe", Effect::kReplies, kPubSub),
    Refused("psubscribe", Effect::kReplies, kPubSub),
    Refused("punsubscribe", Effect::kReplies, kPubSub),
    Refused("ssubscribe", Effect::kReplies, kPubSub),
    Refused("sunsubscribe", Effect::kReplies, kPubSub),
    Refused("publish", Effect::kServer, kPubSub),
    Refused("spublish", Effect::kServer, kPubSub),
    Refused("pubsub|channels", Effect::kServer, kPubSub),
    Refused("pubsub|numpat", Effect::kServer, kPubSub),
    Refused("pubsub|numsub", Effect::kServer, kPubSub),
    Refused("pubsub|shardchannels", Effect::kServer, kPubSub),
    Refused("pubsub|shardnumsub", Effect::kServer, kPubSub),
    Refused("pubsub|help", Effect::kServer, kHelp),
    Refused("client|help", Effect::kServer, kHelp),
    Refused("cluster|help", Effect::kServer, kHelp),
    Refused("config|help", Effect::kServer, kHelp),
    Refused("command|help", Effect::kServer, kHelp),
    Refused("function|help", Effect::kServer, kHelp),
    Refused("latency|help", Effect::kServer, kHelp),
    Refused("memory|help", Effect::kServer, kHelp),
    Refused("module|help", Effect::kServer, kHelp),
    Refused("object|help", Effect::kServer, kHelp),
    Refused("script|help", Effect::kServer, kHelp),
    Refused("slowlog|help", Effect::kServer, kHelp),
    Refused("xgroup|help", Effect::kServer, kHelp),
    Refused("xinfo|help", Effect::kServer, kHelp),
    Refused("acl|help", Effect::kServer, kHelp),
    Refused("client|reply", Effect::kReplies, kOfConnection),
    Refused("monitor", Effect::kReplies, kOfConnection),
    Refused("client|capa", Effect::kName, kOfConnection),
    Refused("client|import-source", Effect::kName, kOfConnection),
    Refused("client|caching", Effect::kReplies, kTracking),
    Refused("client|tracking", Effect::kReplies, kTracking),
    Refused("client|trackinginfo", Effect::kReplies, kTracking),
    Refused("client|kill", Effect::kServer, kOfConnection),
    Refused("client|pause", Effect::kServer, kOfConnection),
    Refused("client|unpause", Effect::kServer, kOfConnection),
    Refused("client|unblock", Effect::kServer, kOfConnection),
    Refused("command|getkeysandflags", Effect::kServer, kHelp),
    Refused("sync", Effect::kReplies, kReplication),
    Refused("psync", Effect::kReplies, kReplication),
    Refused("replconf", Effect::kReplies, kReplication),
    Refused("replicaof", Effect::kServer, kReplication),
    Refused("slaveof", Effect::kServer, kReplication),
    Refused("role", Effect::kServer, kReplication),
    Refused("failover", Effect::kServer, kReplication),
    Refused("asking", Effect::kName, kOfCluster),
    Refused("swapdb", Effect::kDatabase, kOfDatabase),
    Refused("cluster|addslots", Effect::kServer, kOfCluster),
    Refused("cluster|addslotsrange", Effect::kServer, kOfCluster),
    Refused("cluster|bumpepoch", Effect::kServer, kOfCluster),
    Refused("cluster|count-failure-reports", Effect::kServer, kOfCluster),
    Refused("cluster|countkeysinslot", Effect::kServer, kOfCluster),
    Refused("cluster|delslots", Effect::kServer, kOfCluster),
    Refused("cluster|delslotsrange", Effect::kServer, kOfCluster),
    Refused("cluster|failover", Effect::kServer, kOfCluster),
    Refused("cluster|flushslots", Effect::kServer, kOfCluster),
    Refused("cluster|forget", Effect::kServer, kOfCluster),
    Refused("cluster|getkeysinslot", Effect::kServer, kOfCluster),
    Refused("cluster|info", Effect::kServer, kOfCluster),
    Refused("cluster|keyslot", Effect::kServer, kOfCluster),
    Refused("cluster|links", Effect::kServer, kOfCluster),
    Refused("cluster|meet", Effect::kServer, kOfCluster),
    Refused("cluster|migrateslots", Effect::kServer, kOfCluster),
    Refused("cluster|myid", Effect::kServer, kOfCluster),
    Refused("cluster|myshardid", Effect::kServer, kOfCluster),
    Refused("cluster|nodes", Effect::kServer, kOfCluster),
    Refused("cluster|replicas", Effect::kServer, kOfCluster),
    Refused("cluster|replicate", Effect::kServer, kOfCluster),
    Refused("cluster|reset", Effect::kServer, kOfCluster),
    Refused("cluster|saveconfig", Effect::kServer, kOfCluster),
    Refused("cluster|set-config-epoch", Effect::kServer, kOfCluster),
    Refused("cluster|setslot", Effect::kServer, kOfCluster),
    Refused("cluster|shards", Effect::kServer, kOfCluster),
    Refused("cluster|slaves", Effect::kServer, kOfCluster),
    Refused("cluster|slot-stats", Effect::kServer, kOfCluster),
    Refused("cluster|slots", Effect::kServer, kOfCluster),
    Refused("acl|cat", Effect::kServer, kAdmin),
    Refused("acl|deluser", Effect::kServer, kAdmin),
    Refused("acl|dryrun", Effect::kServer, kAdmin),
    Refused("acl|genpass", Effect::kServer, kAdmin),
    Refused("acl|getuser", Effect::kServer, kAdmin),
    Refused("acl|list", Effect::kServer, kAdmin),
    Refused("acl|load", Effect::kServer, kAdmin),
    Refused("acl|log", Effect::kServer, kAdmin),
    Refused("acl|save", Effect::kServer, kAdmin),
    Refused("acl|setuser", Effect::kServer, kAdmin),
    Refused("acl|users", Effect::kServer, kAdmin),
    Refused("acl|whoami", Effect::kServer, kAdmin),
    Refused("config|get", Effect::kServer, kAdmin),
    Refused("config|resetstat", Effect::kServer, kAdmin),
    Refused("config|rewrite", Effect::kServer, kAdmin),
    Refused("config|set", Effect::kServer, kAdmin),
    Refused("bgrewriteaof", Effect::kServer, kAdmin),
    Refused("bgsave", Effect::kServer, kAdmin),
    Refused("debug", Effect::kServer, kAdmin),
    Refused("lastsave", Effect::kServer, kAdmin),
    Refused("pfdebug", Effect::kServer, kAdmin),
    Refused("pfselftest", Effect::kServer, kAdmin),
    Refused("save", Effect::kServer, kAdmin),
    Refused("shutdown", Effect::kServer, kAdmin),
    Refused("latency|doctor", Effect::kServer, kAdmin),
    Refused("latency|graph", Effect::kServer, kAdmin),
    Refused("latency|histogram", Effect::kServer, kAdmin),
    Refused("latency|history", Effect::kServer, kAdmin),
    Refused("latency|latest", Effect::kServer, kAdmin),
    Refused("latency|reset", Effect::kServer, kAdmin),
    Refused("memory|doctor", Effect::kServer, kAdmin),
    Refused("memory|malloc-stats", Effect::kServer, kAdmin),
    Refused("memory|purge", Effect::kServer, kAdmin),
    Refused("memory|stats", Effect::kServer, kAdmin),
    Refused("module|list", Effect::kServer, kAdmin),
    Refused("module|load", Effect::kServer, kAdmin),
    Refused("module|loadex", Effect::kServer, kAdmin),
    Refused("module|unload", Effect::kServer, kAdmin),
    Refused("commandlog|get", Effect::kServer, kAdmin),
    Refused("commandlog|help", Effect::kServer, kHelp),
    Refused("commandlog|len", Effect::kServer, kAdmin),
    Refused("commandlog|reset", Effect::kServer, kAdmin),
    Refused("slowlog|get", Effect::kServer, kAdmin),
    Refused("slowlog|len", Effect::kServer, kAdmin),
    Refused("slowlog|reset", Effect::kServer, kAdmin),
    Refused("function|delete", Effect::kServer, kFunctions),
    Refused("function|dump", Effect::kServer, kFunctions),
    Refused("function|flush", Effect::kServer, kFunctions),
    Refused("function|kill", Effect::kServer, kFunctions),
    Refused("function|list", Effect::kServer, kFunctions),
    Refused("function|load", Effect::kServer, kFunctions),
    Refused("function|restore", Effect::kServer, kFunctions),
    Refused("function|stats", Effect::kServer, kFunctions),
    Refused("script|debug", Effect::kServer, kScripts),
    Refused("script|show", Effect::kServer, kScripts),
    Refused("script|kill", Effect::kServer, kScripts),
};

// The longest name, subcommand included, is shorter.
constexpr size_t kMaxName = 40;

constexpr bool OnlyHarmlessAreForwarded() {
  for (const CommandSpec& spec : kCommands) {
    const bool shared = spec.handling == H::kForward || spec.handling == H::kSplitList ||
                        spec.handling == H::kSplitSum || spec.handling == H::kSplitOk;
    if (shared && spec.effect != Effect::kNone) return false;
    if (spec.handling == H::kBlocking && spec.effect != Effect::kBlocks) return false;
    if (spec.name.size() > kMaxName) return false;
  }
  return true;
}
static_assert(OnlyHarmlessAreForwarded(), "a shared server connection takes only Effect::kNone");

// Names are found in a table of twice as many places, by open addressing.
class Index {
 public:
  Index() {
    for (const CommandSpec& spec : kCommands) {
      Insert(spec.name, {spec.name, &spec, false});
    }
    for (const CommandSpec& spec : kCommands) {
      const size_t bar = spec.name.find('|');
      if (bar == std::string_view::npos) continue;
      const std::string_view container = spec.name.substr(0, bar);
      Entry* entry = Find(container);
      if (entry->name.empty()) *entry = {container, nullptr, true};
      entry->container = true;
    }
  }

  struct Entry {
    std::string_view name;
    const CommandSpec* spec = nullptr;
    bool container = false;
  };
  const Entry& Lookup(std::string_view name) const {
    return const_cast<Index*>(this)->operator[](name);
  }

 private:
  static constexpr size_t kPlaces = 2048;
  static_assert(kPlaces > 2 * std::size(kCommands));

  static size_t Hash(std::string_view name) {
    uint32_t h = 2166136261U;
    for (const char c : name) h = (h ^ static_cast<uint8_t>(c)) * 16777619U;
    return (h ^ h >> 15) % kPlaces;
  }
  Entry& operator[](std::string_view name) { return *Find(name); }
  // Where the name is, or would be.
  Entry* Find(std::string_view name) {
    size_t at = Hash(name);
    while (!places_[at].name.empty() && places_[at].name != name) at = (at + 1) % kPlaces;
    return &places_[at];
  }
  void Insert(std::string_view name, Entry entry) { *Find(name) = entry; }

  std::array<Entry, kPlaces> places_;
};

const Index& TheIndex() {
  static const auto* const index = new Index;
  return *index;
}

// Writes `word` in lower case to `out`; false when it is too long.
bool Lower(std::string_view word, size_t room, char* out) {
  if (word.size() > room) return false;
  std::transform(word.begin(), word.end(), out, [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
  });
  return true;
}

bool IsCount(std::string_view word) {
  return !word.empty() && word.find_first_not_of("0123456789") == std::string_view::npos &&
         word.find_first_not_of('0') != std::string_view::npos;
}

}  // namespace

const CommandSpec* FindCommand(std::string_view name, std::string_view first_argument,
                               bool* container) {
  char lower[kMaxName + 1];
  if (container != nullptr) *container = false;
  if (name.empty() || !Lower(name, kMaxName, lower)) return nullptr;
  const Index::Entry& entry = TheIndex().Lookup({lower, name.size()});
  if (!entry.container) return entry.spec;
  if (container != nullptr) *container = true;
  if (first_argument.empty()) return entry.spec;
  const size_t bar = name.size();
  lower[bar] = '|';
  if (bar == kMaxName || !Lower(first_argument, kMaxName - bar - 1, lower + bar + 1))
    return nullptr;
  return TheIndex().Lookup({lower, bar + 1 + first_argument.size()}).spec;
}

bool NutcrackerTakes(const CommandSpec& spec, std::span<const std::string_view> words) {
  const size_t n = words.size();
  switch (spec.nutcracker) {
    case kNutcrackerNo:
      return false;
    case kNutcrackerAny:
      return n >= 2;
    case kNutcrackerPairs:
      return n >= 3 && n % 2 == 1;
    case kNutcrackerScript:
      return n >= 4 && IsCount(words[2]);
    case kNutcrackerAlone:
      return n == 1;
    case kNutcrackerFree:
      return true;
    case kNutcrackerOne:
      return n == 2;
    default:
      return n == 2 + static_cast<size_t>(spec.nutcracker);
  }
}

std::span<const CommandSpec> Commands() { return kCommands; }

}  // namespace cashew::protocol::redis
