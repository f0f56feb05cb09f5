// Configurations of other proxies that do the work of the edge too: a record per request, a request id,
// forwarded headers, limits per client, another try where an instance is gone, compression.

import { join } from "node:path";

const RECORD_FORMAT =
  "%b\\t%s\\t%ci\\t%HM\\t%[capture.req.hdr(0),json(utf8s)]\\t%HPO\\t%HQ\\t%HV\\t%ST\\t%Tw\\t%Tc\\t%Tr\\t%Ta\\t%U\\t%B\\t%tsc\\t%rc\\t%ID\\t%[capture.req.hdr(1),json(utf8s)]";

export interface Peer {
  readonly dir: string;
  readonly port: number;
  readonly upstream: number;
}

/** As somebody who knows HAProxy writes it by hand for one app. */
export const haproxyByHand = ({ dir, port, upstream }: Peer): string => `global
  nbthread 1
  maxconn 1000
ring records
  format raw
  maxlen 8192
  size 4194304
  timeout connect 1s
  timeout server 10s
  server sink unix@${join(dir, "sink.sock")}
defaults
  mode http
  log ring@records len 8192 format raw local0
  timeout connect 2s
  timeout client 30s
  timeout server 30s
  timeout http-request 10s
  timeout queue 10s
  retries 1
  retry-on conn-failure empty-response
  option redispatch 1
  compression algo gzip
  compression type text/html text/css application/javascript
frontend f
  bind 127.0.0.1:${port}
  unique-id-format %[date(0,us),hex,lower]%[rand,hex,lower]
  unique-id-header x-request-id
  capture request header host len 255
  capture request header user-agent len 200
  http-request del-header x-forwarded- -m beg
  http-request set-header x-forwarded-for %[src]
  http-request set-header x-forwarded-proto http
  http-request set-header x-forwarded-host %[req.hdr(host)]
  http-request set-header x-real-ip %[src]
  http-response set-header x-request-id %[unique-id]
  log-format "${RECORD_FORMAT}"
  use_backend b if { req.hdr(host) -m beg bench.localhost }
backend b
  stick-table type ipv6 size 100k expire 1m store http_req_rate(10s),conn_cur
  http-request track-sc0 src
  http-request deny deny_status 429 if { sc_http_req_rate(0) gt 10000000 }
  http-request deny deny_status 429 if { sc_conn_cur(0) gt 100000 }
  http-request deny deny_status 413 if { req.hdr_val(content-length) gt 33554432 }
  http-request disable-l7-retry if !{ method GET HEAD OPTIONS }
  server s1 127.0.0.1:${upstream} maxconn 256
  server s2 127.0.0.1:${upstream} maxconn 256 backup
`;

export const nginxOfSameWork = ({ dir, port, upstream }: Peer): string => `worker_processes 1;
pid ${dir}/nginx-same.pid; error_log /dev/null;
events { worker_connections 1000; }
http {
  client_body_temp_path ${dir}; proxy_temp_path ${dir}; fastcgi_temp_path ${dir}; uwsgi_temp_path ${dir}; scgi_temp_path ${dir};
  keepalive_requests 100000000;
  log_format record '$time_iso8601 $remote_addr $request_method $host $request_uri $server_protocol $status $upstream_connect_time $upstream_header_time $request_time $request_length $bytes_sent $upstream_addr $request_id "$http_user_agent"';
  access_log ${dir}/nginx-same.log record buffer=64k flush=1s;
  limit_req_zone $binary_remote_addr zone=rate:10m rate=1000000r/s;
  limit_conn_zone $binary_remote_addr zone=open:10m;
  client_max_body_size 32m;
  gzip on; gzip_types text/css application/javascript;
  upstream u { server 127.0.0.1:${upstream}; server 127.0.0.1:${upstream} backup; keepalive 64; keepalive_requests 100000000; }
  server {
    listen 127.0.0.1:${port};
    server_name bench.localhost;
    limit_req zone=rate burst=100000 nodelay;
    limit_conn open 60000;
    add_header X-Request-ID $request_id;
    location / {
      proxy_pass http://u;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $host;
      proxy_set_header X-Request-ID $request_id;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-Host $host;
      proxy_set_header X-Real-IP $remote_addr;
      proxy_next_upstream error timeout;
      proxy_next_upstream_tries 2;
    }
  }
}
`;

/** Caddy has no limits of its own: it does without. */
export const caddyOfSameWork = ({ dir, port, upstream }: Peer): string => `{
  admin off
  auto_https off
}
http://bench.localhost:${port} {
  bind 127.0.0.1
  log {
    output file ${dir}/caddy-same.log
    format json
  }
  encode gzip
  request_body {
    max_size 32MB
  }
  header X-Request-Id {http.request.uuid}
  reverse_proxy 127.0.0.1:${upstream} 127.0.0.1:${upstream} {
    lb_retries 1
    header_up X-Request-Id {http.request.uuid}
    header_up X-Real-IP {remote_host}
  }
}
`;
