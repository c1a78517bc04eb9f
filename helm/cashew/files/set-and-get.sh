# usage: set-and-get HOST PROTOCOL:POOL:PORT...   PROTOCOL is memcached or redis
# Tries each pool for a minute (ATTEMPTS, 2 s apart): after an installation its servers may still be
# starting.
host=$1
shift

# converse PORT TEXT LINES: sends TEXT, prints as many lines of the answer.
converse() {
  local line count
  exec 3<>"/dev/tcp/$host/$1" || return 1
  printf "$2" >&3
  for ((count = 0; count < $3; count++)); do
    IFS= read -r -t 3 line <&3 || break
    printf '%s\n' "${line%$'\r'}"
  done
  exec 3>&-
}

value=v$RANDOM$RANDOM
for pool in "$@"; do
  IFS=: read -r protocol name port <<<"$pool"
  case $protocol in
    memcached)
      request="set cashew-test 0 60 ${#value}\r\n$value\r\nget cashew-test\r\n" lines=4
      right=$(printf 'STORED\nVALUE cashew-test 0 %d\n%s\nEND' "${#value}" "$value") ;;
    redis)
      request="*3\r\n\$3\r\nSET\r\n\$11\r\ncashew-test\r\n\$${#value}\r\n$value\r\n*2\r\n\$3\r\nGET\r\n\$11\r\ncashew-test\r\n"
      lines=3 right=$(printf '+OK\n$%d\n%s' "${#value}" "$value") ;;
  esac
  for ((attempt = 1; ; attempt++)); do
    answer=$(converse "$port" "$request" "$lines" 2>&1)
    [ "$answer" != "$right" ] || break
    if [ "$attempt" -ge "${ATTEMPTS:-30}" ]; then
      printf 'pool %s, port %s: expected\n%s\ngot\n%s\n' "$name" "$port" "$right" "$answer"
      exit 1
    fi
    sleep 2
  done
  echo "pool $name, port $port: a key was set and read back"
done
[ $# -gt 0 ] || echo "no pool is without TLS and password: nothing was tried"
