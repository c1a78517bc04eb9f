#pragma once

// The metric table: one row a metric, from which the stats JSON, `cashew -D`, the
// Prometheus exposition and the documentation are made.
//
//  id, stats JSON name ("" = not in the JSON), Prometheus name without "cashew_"
//  ("" = not exported), kind (kCounter, kGauge, kTimestamp), help
//
// A kTimestamp is in microseconds since the epoch, 0 = never; Prometheus sees
// seconds. Writers' cells of one row are summed, of a kTimestamp the latest counts.
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
  ROW(kRequests, "", "requests_total", kCounter, "# requests read from clients")                \
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
      "# wrong passwords that clients gave")

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
      "# times no connection could be lent, since exclusive_connections was reached")

// Label pool; set by the control thread when a pool's snapshot or health changes.
#define CASHEW_POOL_STATE_METRICS(ROW)                                                            \
  ROW(kMembershipChecksum, "", "membership_checksum", kGauge,                                     \
      "checksum of the pool's servers, weights, hash and distribution; equal on equal replicas")  \
  ROW(kRingChecksum, "", "ring_checksum", kGauge, "checksum of the ring built from live servers") \
  ROW(kMembershipVersion, "", "membership_version", kGauge,                                       \
      "version of the server list in use; counts changes of this process")                        \
  ROW(kLiveServers, "", "live_servers", kGauge, "# servers that take requests")

// Labels pool, server; set by the control thread.
#define CASHEW_SERVER_STATE_METRICS(ROW) \
  ROW(kHealthy, "", "server_healthy", kGauge, "1 when the server is believed to work, else 0")
