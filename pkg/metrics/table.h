#pragma once

// The metric table: one row a metric, from which the stats JSON, `cashew -D`, the
// Prometheus exposition and the documentation are made.
//
//  id, stats JSON name ("" = not in the JSON), Prometheus name without "cashew_"
//  ("" = not exported), kind (kCounter, kSeconds, kGauge, kTimestamp), help
//
// A kTimestamp is in microseconds since the epoch, 0 = never; a kSeconds is a counter
// of nanoseconds. Prometheus sees seconds of both. Writers' cells of one row are summed,
// of a kTimestamp the latest counts.
//
// The rows that have a JSON name come first, in nutcracker's order and with its
// help texts: readers of the stats port and of -D have seen them for a decade.
// After a change, CASHEW_REGENERATE_DOCS=1 markdown_test rewrites README.md.

// No labels.
#define CASHEW_PROCESS_METRICS(ROW)                                          \
  ROW(kTotalConnections, "total_connections", "connections_total", kCounter, \
      "# connections since start: listeners, clients and servers")           \
  ROW(kCurrConnections, "curr_connections", "connections", kGauge,           \
      "# connections open now: listeners, clients and servers")              \
  ROW(kBufferBytes, "", "buffer_bytes", kGauge, "bytes held in buffers")     \
  ROW(kLoopRounds, "", "loop_rounds_total", kCounter, "# rounds of the workers' event loops")

// No labels; set by the control thread (Registry::SetProcessState, AddProcessState).
#define CASHEW_PROCESS_STATE_METRICS(ROW)                                             \
  ROW(kReloads, "", "config_reloads_total", kCounter,                                 \
      "# times a new configuration was put to use")                                   \
  ROW(kReloadFailures, "", "config_reload_failures_total", kCounter,                  \
      "# times a new configuration was refused; the one before stays in use")         \
  ROW(kReloadedAt, "", "config_reload_timestamp_seconds", kTimestamp,                 \
      "time the configuration in use was loaded, in seconds since the epoch")         \
  ROW(kReloadFailed, "", "config_reload_failed", kGauge,                              \
      "1 when the last reload failed, so that the file and what runs differ, else 0") \
  ROW(kMembershipNacks, "", "membership_nacks_total", kCounter,                       \
      "# membership updates that were refused")                                       \
  ROW(kMembershipSavedAt, "", "membership_state_saved_timestamp_seconds", kTimestamp, \
      "time the server lists were last saved to disk, in seconds since the epoch")    \
  ROW(kMembershipStream, "", "membership_stream_connected", kGauge,                   \
      "# connected clients that update server lists")

// Label worker, its number.
#define CASHEW_WORKER_METRICS(ROW)                                                         \
  ROW(kBusy, "", "worker_busy_seconds_total", kSeconds,                                    \
      "time the worker's loop did something else than wait; its rate is the busy ratio")   \
  ROW(kRounds, "", "worker_rounds_total", kCounter, "# rounds of the worker's event loop") \
  ROW(kClients, "", "worker_client_connections", kGauge, "# client connections of the worker")

// Label pool. kServerEjects is computed: the sum of kEjects over the pool's
// servers, those that left included.
#define CASHEW_POOL_METRICS(ROW)                                                                \
  ROW(kClientEof, "client_eof", "client_eof_total", kCounter, "# eof on client connections")    \
  ROW(kClientErr, "client_err", "client_err_total", kCounter, "# errors on client connections") \
  ROW(kClientConnections, "client_connections", "client_connections", kGauge,                   \
      "# active client connections")                                                            \
  ROW(kServerEjects, "server_ejects", "", kCounter, "# times backend server was ejected")       \
  ROW(kForwardError, "forward_error", "forward_error_total", kCounter,                          \
      "# times we encountered a forwarding error")                                              \
  ROW(kFragments, "fragments", "fragments_total", kCounter,                                     \
      "# fragments created from a multi-vector request")                                        \
  ROW(kLocalReplies, "", "local_replies_total", kCounter,                                       \
      "# requests answered by the proxy itself, errors included")                               \
  ROW(kClientsAccepted, "", "client_accepted_total", kCounter, "# client connections accepted") \
  ROW(kClientsRefused, "", "client_refused_total", kCounter,                                    \
      "# client connections closed at once because client_connections was reached")             \
  ROW(kClientsShed, "", "client_shed_total", kCounter,                                          \
      "# client connections and large requests refused because memory ran short")               \
  ROW(kClientsEvicted, "", "client_evicted_total", kCounter,                                    \
      "# client connections closed because they held too much memory or did not read")          \
  ROW(kClientPauses, "", "client_pauses_total", kCounter,                                       \
      "# times reading from a client stopped because it had too much in flight")                \
  ROW(kLoginsFailed, "", "client_logins_failed_total", kCounter,                                \
      "# wrong passwords that clients gave")                                                    \
  ROW(kGetHits, "", "get_hits_total", kCounter, "# keys of gets that were found")               \
  ROW(kGetMisses, "", "get_misses_total", kCounter, "# keys of gets that were not found")       \
  ROW(kTlsHandshakes, "", "client_tls_handshakes_total", kCounter,                              \
      "# TLS handshakes with clients that succeeded")                                           \
  ROW(kTlsFailures, "", "client_tls_handshake_failures_total", kCounter,                        \
      "# TLS handshakes with clients that failed")

// Labels pool, class: what kind of command.
#define CASHEW_CLASS_METRICS(ROW) \
  ROW(kRequests, "", "requests_total", kCounter, "# requests read from clients")

// The values of label class. Blocking commands wait as long as they are told to, so they
// have a class of their own, or nobody could read the others' latency.
//
//  id, label, meaning
#define CASHEW_COMMAND_CLASSES(ROW)                                                             \
  ROW(kGet, "get", "a get of one key")                                                          \
  ROW(kMultiGet, "multi_get", "a get of several keys")                                          \
  ROW(kRead, "read", "any other command that changes nothing")                                  \
  ROW(kWrite, "write", "a command that may change something")                                   \
  ROW(kMultiWrite, "multi_write", "a command with several keys that may change something")      \
  ROW(kBlocking, "blocking", "a command that waits for data (redis)")                           \
  ROW(kTransaction, "transaction", "WATCH, UNWATCH, and EXEC with all that was queued (redis)") \
  ROW(kBroadcast, "broadcast", "a command that asks every server")                              \
  ROW(kLocal, "local", "a command that the proxy answers itself, or refuses")

// The values of label kind of cashew_client_errors_total.
//
//  id, label, meaning
#define CASHEW_ERROR_KINDS(ROW)                                                   \
  ROW(kTimeout, "timeout", "the server did not answer within the pool's timeout") \
  ROW(kUnreachable, "unreachable", "no connection to the server could be had")    \
  ROW(kLost, "lost", "the connection to the server ended before it answered")     \
  ROW(kProtocol, "protocol", "the server's reply made no sense")                  \
  ROW(kNoServer, "no_server", "the pool had no server that takes requests")       \
  ROW(kServer, "server", "the server's own error, passed on")                     \
  ROW(kMemory, "memory", "the proxy was short of memory")                         \
  ROW(kRefused, "refused", "the request cannot be served through this pool")      \
  ROW(kRequest, "request", "the request is malformed, unknown or not allowed")

// Durations, in buckets of pkg/metrics/histogram.h. Measured by the clock that an event
// loop reads once a round, so each is exact to one round.
//
//  id, Prometheus name without "cashew_", labels, help
#define CASHEW_HISTOGRAMS(ROW)                                                             \
  ROW(kRequestDuration, "request_duration_seconds", "pool, class",                         \
      "time from reading a request to handing its whole reply to the client's connection") \
  ROW(kQueueDuration, "queue_duration_seconds", "pool",                                    \
      "time requests waited in the proxy until they were sent to their server")            \
  ROW(kResponseDuration, "server_response_duration_seconds", "pool, server",               \
      "time from sending a request to its server until the whole reply was here")          \
  ROW(kLoopLag, "loop_lag_seconds", "worker",                                              \
      "time that rounds of the worker's event loop took, for which newer events had to wait")
// Labels pool, server.
#define CASHEW_SERVER_METRICS(ROW)                                                              \
  ROW(kServerEof, "server_eof", "server_eof_total", kCounter, "# eof on server connections")    \
  ROW(kServerErr, "server_err", "server_err_total", kCounter, "# errors on server connections") \
  ROW(kServerTimedout, "server_timedout", "server_timedout_total", kCounter,                    \
      "# timeouts on server connections")                                                       \
  ROW(kServerConnections, "server_connections", "server_connections", kGauge,                   \
      "# active server connections")                                                            \
  ROW(kServerEjectedAt, "server_ejected_at", "server_ejected_at_seconds", kTimestamp,           \
      "timestamp when server was ejected in usec since epoch")                                  \
  ROW(kRequests, "requests", "server_requests_total", kCounter, "# requests")                   \
  ROW(kRequestBytes, "request_bytes", "server_request_bytes_total", kCounter,                   \
      "total request bytes")                                                                    \
  ROW(kResponses, "responses", "server_responses_total", kCounter, "# responses")               \
  ROW(kResponseBytes, "response_bytes", "server_response_bytes_total", kCounter,                \
      "total response bytes")                                                                   \
  ROW(kInQueue, "in_queue", "server_in_queue", kGauge, "# requests in incoming queue")          \
  ROW(kInQueueBytes, "in_queue_bytes", "server_in_queue_bytes", kGauge,                         \
      "current request bytes in incoming queue")                                                \
  ROW(kOutQueue, "out_queue", "server_out_queue", kGauge, "# requests in outgoing queue")       \
  ROW(kOutQueueBytes, "out_queue_bytes", "server_out_queue_bytes", kGauge,                      \
      "current request bytes in outgoing queue")                                                \
  ROW(kEjects, "", "server_ejects_total", kCounter, "# times this server was ejected")          \
  ROW(kDesync, "", "server_desync_total", kCounter,                                             \
      "# server connections closed because a reply did not belong to its request")              \
  ROW(kExpired, "", "server_expired_total", kCounter,                                           \
      "# requests that timed out while the connection went on")                                 \
  ROW(kProbes, "", "server_probes_total", kCounter, "# health probes sent")                     \
  ROW(kLoading, "", "server_loading_replies_total", kCounter,                                   \
      "# LOADING errors: the redis server reads its data set")                                  \
  ROW(kReadonly, "", "server_readonly_replies_total", kCounter,                                 \
      "# READONLY errors: the redis server is a replica")                                       \
  ROW(kMasterDown, "", "server_masterdown_replies_total", kCounter,                             \
      "# MASTERDOWN errors: the redis replica has lost its master")                             \
  ROW(kOutOfMemory, "", "server_oom_replies_total", kCounter,                                   \
      "# OOM errors: the redis server may not use more memory")                                 \
  ROW(kBusy, "", "server_busy_replies_total", kCounter,                                         \
      "# BUSY errors: the redis server runs a slow script")                                     \
  ROW(kUnasked, "", "server_push_messages_total", kCounter,                                     \
      "# push messages from the server, which nobody had asked for and were dropped")           \
  ROW(kExclusive, "", "server_exclusive_connections", kGauge,                                   \
      "# connections lent to one client, for WATCH or a blocking command")                      \
  ROW(kExclusiveRefused, "", "server_exclusive_refused_total", kCounter,                        \
      "# times no connection could be lent, since exclusive_connections was reached")           \
  ROW(kReadmissions, "", "server_readmissions_total", kCounter,                                 \
      "# times this server was taken back after it had been ejected")                           \
  ROW(kProbeFailures, "", "server_probe_failures_total", kCounter,                              \
      "# health probes that were not answered")                                                 \
  ROW(kTlsHandshakes, "", "server_tls_handshakes_total", kCounter,                              \
      "# TLS handshakes with the server that succeeded")                                        \
  ROW(kTlsFailures, "", "server_tls_handshake_failures_total", kCounter,                        \
      "# TLS handshakes with the server that failed")

// Label pool; set by the control thread when a pool's snapshot or health changes.
#define CASHEW_POOL_STATE_METRICS(ROW)                                                            \
  ROW(kMembershipChecksum, "", "membership_checksum", kGauge,                                     \
      "checksum of the pool's servers, weights, hash and distribution; equal on equal replicas")  \
  ROW(kRingChecksum, "", "ring_checksum", kGauge, "checksum of the ring built from live servers") \
  ROW(kMembershipVersion, "", "membership_version", kGauge,                                       \
      "version of the server list in use; counts changes of this process")                        \
  ROW(kServers, "", "servers", kGauge, "# servers in the list")                                   \
  ROW(kLiveServers, "", "live_servers", kGauge, "# servers that take requests")                   \
  ROW(kMembershipUpdates, "", "membership_updates_total", kCounter,                               \
      "# new server lists that were put to use")                                                  \
  ROW(kMembershipUpdatedAt, "", "membership_updated_timestamp_seconds", kTimestamp,               \
      "time the server list in use was confirmed last, in seconds since the epoch")               \
  ROW(kListenCertificate, "", "client_certificate_expiry_timestamp_seconds", kTimestamp,          \
      "time the certificate shown to clients expires, in seconds since the epoch; 0 without TLS") \
  ROW(kServerCertificate, "", "server_certificate_expiry_timestamp_seconds", kTimestamp,          \
      "time the certificate shown to servers expires, in seconds since the epoch; 0 without one")

// Labels pool, server; set by the control thread.
#define CASHEW_SERVER_STATE_METRICS(ROW) \
  ROW(kHealthy, "", "server_healthy", kGauge, "1 when the server is believed to work, else 0")
