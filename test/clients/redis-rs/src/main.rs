//! redis-rs with its default settings. usage: client HOST PORT [PROTOCOL]
use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::fmt::Debug;
use std::thread;
use std::time::Duration;

use redis::{
    cmd, Client, Commands, Connection, ConnectionLike, ErrorKind, RedisError, RedisResult, Value,
};

type Outcome = Result<(), Box<dyn Error>>;
type Step = fn(&Client, &mut Connection) -> Outcome;

fn same<T: PartialEq + Debug>(got: T, want: T) -> Outcome {
    if got == want {
        return Ok(());
    }
    Err(format!("got {got:.200?}, not {want:.200?}").into())
}

/// The reply must be an error reply, as the library reports it.
fn fails(result: RedisResult<Value>, text: &str) -> Outcome {
    match result {
        Err(error) if !error.is_io_error() && error.to_string().contains(text) => Ok(()),
        other => Err(format!("got {other:?}, not {text}").into()),
    }
}

fn hello(_: &Client, c: &mut Connection) -> Outcome {
    println!("hello {:?}", cmd("HELLO").query::<Value>(c)?);
    Ok(())
}

fn strings(_: &Client, c: &mut Connection) -> Outcome {
    for value in [b"text".to_vec(), vec![], b"\x00\xff\r\n".repeat(25600)] {
        same(c.set::<_, _, String>("rs:s", value.clone())?, "OK".into())?;
        same(c.get::<_, Vec<u8>>("rs:s")?, value)?;
    }
    same(c.get::<_, Option<String>>("rs:none")?, None)
}

fn counter(_: &Client, c: &mut Connection) -> Outcome {
    let _: () = c.set("rs:n", 1)?;
    same(c.incr::<_, _, i64>("rs:n", 1)?, 2)?;
    same(c.expire::<_, i64>("rs:n", 100)?, 1)?;
    same(cmd("TTL").arg("rs:n").query::<i64>(c)? > 90, true)
}

fn many_keys(_: &Client, c: &mut Connection) -> Outcome {
    let mut keys: Vec<String> = (0..50).map(|i| format!("rs:k{i}")).collect();
    let pairs: Vec<(&String, &String)> = keys.iter().map(|k| (k, k)).collect();
    same(c.mset::<_, _, String>(&pairs)?, "OK".into())?;
    same(c.mget::<_, Vec<String>>(&keys)?, keys.clone())?;
    keys.push("rs:none".into());
    same(c.mget::<_, Vec<Option<String>>>(&keys)?[50].clone(), None)?;
    same(c.exists::<_, i64>(&keys)?, 50)?;
    same(c.del::<_, i64>(&keys)?, 50)
}

fn hash(_: &Client, c: &mut Connection) -> Outcome {
    let _: () = c.del("rs:h")?;
    same(c.hset::<_, _, _, i64>("rs:h", "f", "v")?, 1)?;
    same(c.hget::<_, _, String>("rs:h", "f")?, "v".into())?;
    let all: Vec<(String, String)> = c.hgetall("rs:h")?;
    same(all, vec![("f".into(), "v".into())])
}

fn list(_: &Client, c: &mut Connection) -> Outcome {
    let _: () = c.del("rs:l")?;
    same(c.rpush::<_, _, i64>("rs:l", &["a", "b", "c"])?, 3)?;
    same(c.lrange::<_, Vec<String>>("rs:l", 0, -1)?, vec!["a".into(), "b".into(), "c".into()])?;
    same(c.lpop::<_, String>("rs:l", None)?, "a".into())
}

fn set(_: &Client, c: &mut Connection) -> Outcome {
    let _: () = c.del("rs:set")?;
    same(c.sadd::<_, _, i64>("rs:set", &[1, 2])?, 2)?;
    same(c.smembers::<_, HashSet<i64>>("rs:set")?, HashSet::from([1, 2]))?;
    same(c.sismember::<_, _, bool>("rs:set", 1)?, true)
}

fn sorted_set(_: &Client, c: &mut Connection) -> Outcome {
    let _: () = c.del("rs:z")?;
    same(c.zadd_multiple::<_, _, _, i64>("rs:z", &[(1.5, "m"), (2.0, "n")])?, 2)?;
    same(c.zscore::<_, _, f64>("rs:z", "m")?, 1.5)?;
    let all: Vec<(String, f64)> = c.zrange_withscores("rs:z", 0, -1)?;
    same(all, vec![("m".into(), 1.5), ("n".into(), 2.0)])
}

fn hscan(_: &Client, c: &mut Connection) -> Outcome {
    let fields: Vec<(String, i64)> = (0..1000).map(|i| (format!("f{i}"), i)).collect();
    let _: () = c.del("rs:big")?;
    let _: () = c.hset_multiple("rs:big", &fields)?;
    let got = c.hscan::<_, (String, i64)>("rs:big")?.collect::<RedisResult<HashMap<_, _>>>()?;
    same(got, fields.into_iter().collect())
}

fn pipeline(_: &Client, c: &mut Connection) -> Outcome {
    let mut pipe = redis::pipe();
    let mut want = Vec::new();
    for i in 0..500 {
        pipe.set(format!("rs:p{i}"), i).get(format!("rs:p{i}"));
        want.extend([Value::Okay, Value::BulkString(i.to_string().into_bytes())]);
    }
    same(pipe.query::<Vec<Value>>(c)?, want)
}

fn multi(_: &Client, c: &mut Connection) -> Outcome {
    let _: () = c.del(&["{rs}t", "{rs}u"])?;
    let mut pipe = redis::pipe();
    pipe.atomic().incr("{rs}t", 1).set("{rs}u", "x").get("{rs}t");
    same(pipe.query(c)?, (1, "OK".to_string(), "1".to_string()))
}

fn watch(_: &Client, c: &mut Connection) -> Outcome {
    let _: () = c.set("{rs}w", 1)?;
    let replies: (i64,) = redis::transaction(c, &["{rs}w"], |c, pipe| {
        let n: i64 = c.get("{rs}w")?;
        pipe.set("{rs}w", n + 1).ignore().get("{rs}w").query(c)
    })?;
    same(replies, (2,))
}

/// The library's transaction runs its body again after a conflict.
fn watch_conflict(client: &Client, c: &mut Connection) -> Outcome {
    let mut other = client.get_connection()?;
    let mut rounds = 0;
    let replies: (i64,) = redis::transaction(c, &["{rs}w"], |c, pipe| {
        let n: i64 = c.get("{rs}w")?;
        rounds += 1;
        if rounds == 1 {
            let _: () = other.set("{rs}w", 9)?;
        }
        pipe.set("{rs}w", n + 1).ignore().get("{rs}w").query(c)
    })?;
    same((rounds, replies), (2, (10,)))
}

fn blpop(client: &Client, c: &mut Connection) -> Outcome {
    let _: () = c.del("{rs}q")?;
    let mut other = client.get_connection()?;
    let pusher = thread::spawn(move || -> RedisResult<()> {
        thread::sleep(Duration::from_millis(200));
        other.lpush("{rs}q", "job")
    });
    same(c.blpop::<_, (String, String)>("{rs}q", 5.0)?, ("{rs}q".into(), "job".into()))?;
    pusher.join().map_err(|_| "the pusher panicked")?.map_err(|error: RedisError| error.into())
}

fn blpop_timeout(_: &Client, c: &mut Connection) -> Outcome {
    same(c.blpop::<_, Option<(String, String)>>("{rs}q", 0.3)?, None)
}

fn eval(_: &Client, c: &mut Connection) -> Outcome {
    let mut eval = cmd("EVAL");
    eval.arg("return {KEYS[1],ARGV[1]}").arg(1).arg("rs:e").arg("x");
    same(eval.query::<Vec<String>>(c)?, vec!["rs:e".into(), "x".into()])
}

fn unknown_command(_: &Client, c: &mut Connection) -> Outcome {
    fails(cmd("NOSUCHCOMMAND").arg("x").query(c), "unknown command")?;
    same(cmd("PING").query::<String>(c)?, "PONG".into())
}

fn wrongtype(_: &Client, c: &mut Connection) -> Outcome {
    let _: () = c.del("rs:l")?;
    let _: () = c.rpush("rs:l", "x")?;
    fails(c.incr("rs:l", 1), "WRONGTYPE")?;
    same(c.lpop::<_, String>("rs:l", None)?, "x".into())
}

fn select_and_name(_: &Client, c: &mut Connection) -> Outcome {
    same(cmd("SELECT").arg(0).query::<String>(c)?, "OK".into())?;
    same(c.client_setname::<_, String>("cashew")?, "OK".into())?;
    same(c.client_getname::<String>()?, "cashew".into())
}

/// A connection does not come back by itself here: it says so, and the client gives another.
fn reconnect(client: &Client, _: &mut Connection) -> Outcome {
    let mut c = client.get_connection()?;
    let _: () = c.set("rs:r", 1)?;
    let _: () = cmd("QUIT").query(&mut c)?;
    match c.get::<_, i64>("rs:r") {
        Err(error) if error.kind() == ErrorKind::Io => (),
        other => return Err(format!("after QUIT: {other:?}").into()),
    }
    same(c.is_open(), false)?;
    same(client.get_connection()?.get::<_, i64>("rs:r")?, 1)
}

const STEPS: [(&str, Step); 20] = [
    ("HELLO", hello),
    ("strings", strings),
    ("counter", counter),
    ("many keys", many_keys),
    ("hash", hash),
    ("list", list),
    ("set", set),
    ("sorted set", sorted_set),
    ("HSCAN", hscan),
    ("pipeline of 1,000", pipeline),
    ("MULTI", multi),
    ("WATCH", watch),
    ("WATCH conflict", watch_conflict),
    ("BLPOP", blpop),
    ("BLPOP time-out", blpop_timeout),
    ("EVAL", eval),
    ("unknown command", unknown_command),
    ("WRONGTYPE", wrongtype),
    ("SELECT and name", select_and_name),
    ("reconnect", reconnect),
];

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().collect();
    let suffix = args.get(3).map(|protocol| format!("/?protocol=resp{protocol}"));
    let client =
        Client::open(format!("redis://{}:{}{}", args[1], args[2], suffix.unwrap_or_default()))?;
    let mut connection = client.get_connection()?;
    let mut passed = 0;
    for (name, step) in STEPS {
        match step(&client, &mut connection) {
            Ok(()) => {
                passed += 1;
                println!("ok {name}");
            }
            Err(error) => println!("FAIL {name} {error}"),
        }
    }
    let failed = STEPS.len() - passed;
    println!("library redis-rs {}", env!("REDIS_RS_VERSION"));
    println!("{passed} passed, {failed} failed");
    std::process::exit(if failed > 0 { 1 } else { 0 });
}
