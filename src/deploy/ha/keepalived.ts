/**
 * Configuration of Debian's keepalived for a floating address over a cluster's API servers, one machine's files: keepalived.conf, a check of this machine's
 * API server, and a script that removes the address from a machine that should not have it.
 *
 *   this machine's /readyz fails ──► FAULT: the address goes to a peer at once
 *   this machine dies            ──► a peer takes the address after two missed advertisements (ADVERTISE_SECONDS each)
 *   keepalived dies, killed      ──► the unit runs the script, which removes the address that keepalived left behind
 */
import { isIPv6 } from 'node:net';
import type { FloatingAddress } from './floating-address.ts';
import { virtualRouterId } from './floating-address.ts';

interface KeepalivedOptions {
  readonly floating: FloatingAddress;
  /** The network interface that carries it. */
  readonly device: string;
  /** This machine's own address on that network, and those of the other control planes. */
  readonly own: string;
  readonly peers: readonly string[];
  /** Of this machine's API server. */
  readonly serverPort: number;
  readonly caFile: string;
  /** Eight characters; IPv4 only. */
  readonly password: string;
  /** Target directory of the files. */
  readonly dir: string;
  /** systemd's: '/etc/systemd/system'. */
  readonly unitDir: string;
  readonly pidFile: string;
  readonly stateFile: string;
}

export interface GeneratedFile {
  readonly path: string;
  readonly text: string;
  readonly mode: number;
}

/** VRRP version 2, which has authentication, counts whole seconds. */
const ADVERTISE_SECONDS = 1;
const MISSED_ADVERTISEMENTS = 2;
/** The same on each machine: no machine is preferred, so the address does not move back. The longest wait is (256 - priority)/256 s. */
const PRIORITY = 200;
const CHECK_TIMEOUT_SECONDS = 2;

export function keepalivedFiles(options: KeepalivedOptions): readonly GeneratedFile[] {
  const { dir, unitDir } = options;
  return [
    { path: `${dir}/keepalived.conf`, text: renderConfig(options), mode: 0o600 },
    { path: `${dir}/capstan-check.sh`, text: renderCheck(options), mode: 0o755 },
    { path: `${dir}/capstan-address.sh`, text: renderAddressScript(options), mode: 0o755 },
    {
      path: `${unitDir}/keepalived.service.d/capstan.conf`,
      text: renderDropIn(options),
      mode: 0o644,
    },
  ];
}

function renderConfig(options: KeepalivedOptions): string {
  const { floating, device, own, peers, dir } = options;
  return `# Written by capstan ha keepalived. The same on each control plane but for unicast_src_ip and unicast_peer.
global_defs {
  enable_script_security
  script_user root
  vrrp_garp_master_refresh 10
}

vrrp_script apiserver {
  script "${dir}/capstan-check.sh"
  interval 1
  timeout ${CHECK_TIMEOUT_SECONDS}
  fall 1
  rise 2
  init_fail
}

vrrp_instance capstan {
  state BACKUP
  nopreempt
  interface ${device}
  virtual_router_id ${virtualRouterId(floating)}
  priority ${PRIORITY}
  advert_int ${ADVERTISE_SECONDS}
  down_timer_adverts ${MISSED_ADVERTISEMENTS}
${authentication(options)}  unicast_src_ip ${own}
  unicast_peer {
${peers.map((peer) => `    ${peer}\n`).join('')}  }
  virtual_ipaddress {
    ${floating.address}/${floating.prefix} dev ${device}
  }
  track_script {
    apiserver
  }
  notify "${dir}/capstan-address.sh"
  notify_stop "${dir}/capstan-address.sh sweep"
}
`;
}

/** AH signs each advertisement with the password and does not send it; VRRP for IPv6 has no authentication. */
function authentication({ floating, password }: KeepalivedOptions): string {
  if (isIPv6(floating.address)) return '';
  return `  authentication {
    auth_type AH
    auth_pass ${password}
  }
`;
}

function renderCheck({ serverPort, caFile, own }: KeepalivedOptions): string {
  const host = isIPv6(own) ? `[${own}]` : own;
  return `#!/bin/sh
# Written by capstan ha keepalived: whether this machine's API server is ready. 401 and 403: it serves, but anonymous requests are off.
code=$(curl --silent --output /dev/null --write-out '%{http_code}' --max-time ${CHECK_TIMEOUT_SECONDS} --noproxy '*' \\
  --cacert ${caFile} https://${host}:${serverPort}/readyz)
case $code in 200|401|403) exit 0 ;; *) exit 1 ;; esac
`;
}

function renderAddressScript({ floating, device, pidFile, stateFile }: KeepalivedOptions): string {
  const address = `${floating.address}/${floating.prefix}`;
  return `#!/bin/sh
# Written by capstan ha keepalived. It may run at any time and as often as one likes.
#   capstan-address.sh INSTANCE capstan STATE PRIORITY   keepalived says which state it is in
#   capstan-address.sh sweep                             removes the address unless keepalived runs here and is MASTER
state_file=${stateFile}
pid_file=${pidFile}

if [ "\${1:-}" = INSTANCE ]; then
  mkdir -p "$(dirname "$state_file")"
  echo "$3" >"$state_file.new" && mv "$state_file.new" "$state_file"
  [ "$3" = MASTER ] && exit 0
fi

pid=$(cat "$pid_file" 2>/dev/null || true)
if [ -n "$pid" ] && [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = keepalived ] &&
  [ "$(cat "$state_file" 2>/dev/null)" = MASTER ]; then
  exit 0
fi
if ip -oneline address show dev ${device} to ${floating.address} | grep -q .; then
  ip address delete ${address} dev ${device} && echo "removed ${address} from ${device}: keepalived is not MASTER here" >&2
fi
exit 0
`;
}

function renderDropIn({ dir }: KeepalivedOptions): string {
  return `# Written by capstan ha keepalived. A killed keepalived leaves the address behind: it goes before the next one starts, and when one has died.
[Service]
ExecStartPre=${dir}/capstan-address.sh sweep
ExecStopPost=${dir}/capstan-address.sh sweep
Restart=always
RestartSec=1
`;
}
