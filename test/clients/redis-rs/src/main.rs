//! redis-rs with its default settings. usage: client HOST PORT [3]
use redis::{Client, Commands, Connection, RedisResult, Value};

struct Steps {
    passed: u32,
    failed: u32,
}

impl Steps {
    fn step(&mut self, name: &str, run: impl FnOnce() -> Result<(), Box<dyn std::error::Error>>) {
        match run() {
            Ok(()) => {
                self.passed += 1;
                println!("ok {name}");
            }
            Err(error) => {
                self.failed += 1;
                println!("FAIL {name} {error}");
            }
        }
    }
}

fn same<T: PartialEq + std::fmt::Debug>(got: T, want: T) -> Result<(), Box<dyn std::error::Error>> {
    if got == want {
        Ok(())
    } else {
        Err(format!("got {got:?}, not {want:?}").into())
    }
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let suffix = if args.len() > 3 { "/?protocol=resp3" } else { "/" };
    let client = Client::open(format!("redis://{}:{}{}", args[1], args[2], suffix)).unwrap();
    let connect = || -> Connection { client.get_connection().unwrap() };
    let mut steps = Steps { passed: 0, failed: 0 };
    steps.step("strings", || {
        let mut c = connect();
        for value in [b"text".to_vec(), vec![], vec![0xff; 100_000]] {
            let _: () = c.set("rs:s", value.clone())?;
            same(c.get::<_, Vec<u8>>("rs:s")?, value)?;
        }
        same(c.get::<_, Option<String>>("rs:none")?, None)?;
        let _: () = c.set("rs:n", 1)?;
        same(c.incr::<_, _, i64>("rs:n", 1)?, 2)
    });
    steps.step("many keys", || {
        let mut c = connect();
        let pairs: Vec<(String, String)> = (0..50).map(|i| (format!("rs:k{i}"), i.to_string())).collect();
        let keys: Vec<String> = pairs.iter().map(|p| p.0.clone()).collect();
        let _: () = c.mset(&pairs)?;
        let values: Vec<String> = c.mget(&keys)?;
        same(values, pairs.iter().map(|p| p.1.clone()).collect())?;
        same(c.del::<_, i64>(&keys)?, 50)
    });
    steps.step("structures", || {
        let mut c = connect();
        let _: () = c.del(&["rs:h", "rs:l", "rs:z"])?;
        let _: () = c.hset("rs:h", "f", "v")?;
        same(c.hgetall::<_, Vec<(String, String)>>("rs:h")?, vec![("f".into(), "v".into())])?;
        let _: () = c.rpush("rs:l", &["a", "b"])?;
        same(c.lrange::<_, Vec<String>>("rs:l", 0, -1)?, vec!["a".to_string(), "b".into()])?;
        let _: () = c.zadd("rs:z", "m", 1.5)?;
        same(c.zscore::<_, _, f64>("rs:z", "m")?, 1.5)
    });
    steps.step("pipeline of 1,000", || {
        let mut pipe = redis::pipe();
        for i in 0..1000 {
            pipe.set(format!("rs:p{i}"), i);
        }
        let replies: Vec<Value> = pipe.query(&mut connect())?;
        same(replies.len(), 1000)
    });
    steps.step("MULTI", || {
        let mut c = connect();
        let _: () = c.del("{rs}t")?;
        let replies: (i64, i64) =
            redis::pipe().atomic().incr("{rs}t", 1).incr("{rs}t", 1).query(&mut c)?;
        same(replies, (1, 2))
    });
    steps.step("WATCH", || {
        let mut c = connect();
        let _: () = c.set("{rs}w", 1)?;
        let replies: (i64,) = redis::transaction(&mut c, &["{rs}w"], |c, pipe| {
            let n: i64 = c.get("{rs}w")?;
            pipe.set("{rs}w", n + 1).ignore().get("{rs}w").query(c)
        })?;
        same(replies, (2,))
    });
    steps.step("BLPOP", || {
        let mut c = connect();
        let _: () = c.del("{rs}q")?;
        let mut other = connect();
        let pusher = std::thread::spawn(move || -> RedisResult<()> {
            std::thread::sleep(std::time::Duration::from_millis(200));
            other.lpush("{rs}q", "job")
        });
        same(c.blpop::<_, (String, String)>("{rs}q", 5.0)?, ("{rs}q".into(), "job".into()))?;
        pusher.join().unwrap()?;
        same(c.blpop::<_, Option<(String, String)>>("{rs}q", 0.3)?, None)
    });
    steps.step("EVAL", || {
        let reply: Vec<String> = redis::cmd("EVAL")
            .arg("return {KEYS[1],ARGV[1]}").arg(1).arg("rs:e").arg("x").query(&mut connect())?;
        same(reply, vec!["rs:e".to_string(), "x".into()])
    });
    steps.step("errors", || {
        let mut c = connect();
        let error = redis::cmd("NOSUCHCOMMAND").query::<()>(&mut c).unwrap_err().to_string();
        same(error.contains("unknown command"), true)?;
        let _: () = c.del("rs:l")?;
        let _: () = c.rpush("rs:l", "x")?;
        let error = c.incr::<_, _, i64>("rs:l", 1).unwrap_err();
        same(error.code(), Some("WRONGTYPE"))?;
        same(redis::cmd("PING").query::<String>(&mut c)?, "PONG".into())
    });
    steps.step("reconnect", || {
        drop(connect());
        same(redis::cmd("PING").query::<String>(&mut connect())?, "PONG".into())
    });
    println!("library redis-rs {}", env!("REDIS_RS_VERSION"));
    println!("{} passed, {} failed", steps.passed, steps.failed);
    std::process::exit(if steps.failed > 0 { 1 } else { 0 });
}
