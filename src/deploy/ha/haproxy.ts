/** Configuration of Debian's HAProxy over the API servers of a cluster: TCP passthrough, /readyz checks over TLS, sessions of a failed server are closed. */
import type { GeneratedFile } from './keepalived.ts';

interface HaproxyOptions {
  /** '*:8443', '10.0.0.100:6443' */
  readonly listen: string;
  /** 'HOST:PORT' of each API server. */
  readonly servers: readonly string[];
  readonly caFile: string;
  readonly file: string;
}

/** Every API server has this name in its certificate; HAProxy compares names only, no addresses. */
const SERVER_NAME = 'kubernetes';

export function haproxyFiles(options: HaproxyOptions): readonly GeneratedFile[] {
  return [{ path: options.file, text: renderHaproxy(options), mode: 0o644 }];
}

function renderHaproxy({ listen, servers, caFile }: HaproxyOptions): string {
  // An address that another machine may have now can be listened on all the same.
  const transparent = listen.startsWith('*') || listen.startsWith('[::]') ? '' : ' transparent';
  return `# Written by capstan ha haproxy.
global
  log stdout format raw local0 notice
  maxconn 4096

defaults
  mode tcp
  log global
  option dontlognull
  option clitcpka
  option srvtcpka
  option redispatch 1
  retries 3
  timeout connect 2s
  timeout check 2s
  timeout client 1h
  timeout server 1h
  timeout client-fin 30s
  timeout tunnel 1h

frontend apiserver
  bind ${listen}${transparent}
  default_backend apiservers

backend apiservers
  balance leastconn
  option httpchk
  http-check send meth GET uri /readyz hdr Host ${SERVER_NAME}
  # 401 and 403: it serves, but anonymous requests are off.
  http-check expect status 200,401,403
  default-server check check-ssl check-sni ${SERVER_NAME} verify required verifyhost ${SERVER_NAME} ca-file ${caFile} inter 1s fall 1 rise 1 on-error fail-check observe layer4 error-limit 1 on-marked-down shutdown-sessions
${servers.map((server, index) => `  server apiserver-${index + 1} ${server}\n`).join('')}`;
}
