/** What the fleet does on a machine, over ssh. It decides nothing: apply.ts and reset.ts do. */
import { stringifyYaml } from '#machinery/yaml.ts';
import { errorMessage } from '#stdx/log.ts';
import { hostPort } from '../config/endpoint.ts';
import type { AgentAnswers, AgentRequest, Invitation } from './agent.ts';
import type { Fleet, FleetMachine } from './inventory.ts';
import { lookScript, PACKAGES_DIR, parseLook, type FoundRecord, type MachineLook } from './look.ts';
import { installScript, type ProgramPackage } from './package.ts';
import { quote, quoteAll, RemoteError, type SshConnections, type SshTarget } from './ssh.ts';

/** Each throws a RemoteError with a sentence. All may be done again. */
export interface FleetRemote {
  look(machine: SshTarget): Promise<MachineLook>;
  ship(machine: FleetMachine, program: ProgramPackage): Promise<void>;
  init(machine: FleetMachine, look: MachineLook): Promise<void>;
  join(machine: FleetMachine, by: Joining): Promise<void>;
  leave(machine: SshTarget, options: { readonly force: boolean; readonly reset: boolean }): Promise<void>;
  /** On a control plane. */
  ask<Kind extends AgentRequest['kind']>(
    machine: SshTarget,
    request: Extract<AgentRequest, { readonly kind: Kind }>,
  ): Promise<AgentAnswers[Kind]>;
}

interface Joining {
  readonly look: MachineLook;
  readonly lead: FoundRecord;
  readonly invitation: Invitation;
}

interface RemoteOptions {
  readonly connections: Pick<SshConnections, 'run'>;
  readonly fleet: Fleet;
  /** Lines of init, join and leave as they come. */
  readonly onLine?: ((machine: string, line: string) => void) | undefined;
}

const SHIP_TIMEOUT_MS = 15 * 60_000;
const JOIN_TIMEOUT_MS = 15 * 60_000;
const LEAVE_TIMEOUT_MS = 15 * 60_000;
const AGENT_TIMEOUT_MS = 6 * 60_000;
/** What an earlier run that was cut off has begun ends by itself. */
const BUSY_TIMEOUT_MS = 5 * 60_000;
const BUSY_RETRY_MS = 2_000;
const BUSY = /is changing this machine: wait until it is done/;
/** Files with secrets: below /run, gone with the shell that made them. */
const IN_OWN_DIR =
  'set -eu; umask 077; mkdir -p /run; d=$(mktemp -d /run/capstan-fleet.XXXXXX); trap \'rm -rf "$d"\' EXIT; trap "exit 1" HUP INT TERM';

export function createRemote(options: RemoteOptions): FleetRemote {
  return new SshRemote(options);
}

class SshRemote implements FleetRemote {
  readonly #connections: RemoteOptions['connections'];
  readonly #fleet: Fleet;
  readonly #launcher: string;
  /** Sets $c to the program: the one that was copied, else the machine's own. */
  readonly #program: string;
  readonly #onLine: RemoteOptions['onLine'];

  constructor({ connections, fleet, onLine }: RemoteOptions) {
    this.#connections = connections;
    this.#fleet = fleet;
    this.#launcher = quote(fleet.launcher ?? `${PACKAGES_DIR}/current/capstan`);
    this.#program = `c=${this.#launcher}; [ -x "$c" ] || c=capstan`;
    this.#onLine = onLine;
  }

  async look(machine: SshTarget): Promise<MachineLook> {
    return parseLook(await this.#connections.run(machine, lookScript(this.#launcher)));
  }

  async ship(machine: FleetMachine, program: ProgramPackage): Promise<void> {
    await this.#connections.run(machine, installScript(program), {
      stdin: program.tar(),
      timeoutMs: SHIP_TIMEOUT_MS,
    });
  }

  async init(machine: FleetMachine, look: MachineLook): Promise<void> {
    const words = ['--skip-token-print', '--skip-certificate-key-print', ...this.#commonWords()];
    await this.#change(machine, `init --config "$d/config" ${quoteAll(words)}`, {
      files: ['config'],
      stdin: this.#initConfig(machine, look),
    });
  }

  async join(machine: FleetMachine, by: Joining): Promise<void> {
    if (machine.role === 'witness') return this.#joinWitness(machine, by);
    await this.#change(machine, `join --config "$d/config" ${quoteAll(this.#commonWords())}`, {
      files: ['config'],
      stdin: this.#joinConfig(machine, by),
    });
  }

  async leave(machine: SshTarget, { force, reset }: { force: boolean; reset: boolean }): Promise<void> {
    const words = [reset ? 'reset' : 'leave', '--yes', ...(force ? ['--force'] : [])];
    await this.#change(machine, quoteAll(words), { files: [], stdin: '', timeoutMs: LEAVE_TIMEOUT_MS });
  }

  async ask<Kind extends AgentRequest['kind']>(
    machine: SshTarget,
    request: Extract<AgentRequest, { readonly kind: Kind }>,
  ): Promise<AgentAnswers[Kind]> {
    const output = await this.#connections.run(machine, `${this.#program}; exec "$c" fleet agent`, {
      stdin: JSON.stringify(request),
      timeoutMs: AGENT_TIMEOUT_MS,
    });
    try {
      return JSON.parse(output.trim().split('\n').at(-1) ?? '') as AgentAnswers[Kind];
    } catch (error) {
      throw new RemoteError(`its answer is no JSON: ${errorMessage(error)}`, { cause: error });
    }
  }

  /** JoinConfiguration has no field for a witness's key. */
  async #joinWitness(machine: FleetMachine, { look, lead, invitation }: Joining): Promise<void> {
    const { token, caCertHashes, certificateKey = '' } = invitation;
    const address = advertiseAddressOf(machine, look);
    const ignore = this.#fleet.config.join.nodeRegistration?.ignorePreflightErrors ?? [];
    const words = [
      endpointOf(lead),
      '--witness',
      ...caCertHashes.map((hash) => `--discovery-token-ca-cert-hash=${hash}`),
      `--node-name=${machine.name}`,
      ...(address === undefined ? [] : [`--apiserver-advertise-address=${address}`]),
      ...(ignore.length === 0 ? [] : [`--ignore-preflight-errors=${ignore.join()}`]),
      ...this.#commonWords(),
    ];
    const files = '--token-file "$d/token" --certificate-key-file "$d/key"';
    await this.#change(machine, `join ${quoteAll(words)} ${files}`, {
      files: ['token', 'key'],
      stdin: `${token}\n${certificateKey}\n`,
    });
  }

  /** stdin: one line for each of the files but the last, which gets the rest. */
  async #change(
    machine: SshTarget,
    command: string,
    {
      files,
      stdin,
      timeoutMs = JOIN_TIMEOUT_MS,
    }: { readonly files: readonly string[]; readonly stdin: string; readonly timeoutMs?: number },
  ): Promise<void> {
    const reads = files.map((file, index) =>
      index === files.length - 1
        ? `cat > "$d"/${file}`
        : `IFS= read -r line; printf '%s\\n' "$line" > "$d"/${file}`,
    );
    const script = [IN_OWN_DIR, ...reads, this.#program, `"$c" ${command} </dev/null`].join('\n');
    const deadline = performance.now() + BUSY_TIMEOUT_MS;
    for (;;)
      try {
        await this.#connections.run(machine, script, {
          stdin,
          timeoutMs,
          onLine: (line) => this.#onLine?.(machine.name, line),
        });
        return;
      } catch (error) {
        if (!BUSY.test(errorMessage(error)) || performance.now() > deadline) throw error;
        await new Promise((done) => setTimeout(done, BUSY_RETRY_MS));
      }
  }

  #commonWords(): string[] {
    const { etcd, runtime } = this.#fleet.config;
    return [
      ...(etcd.binary === undefined ? [] : [`--etcd-binary=${etcd.binary}`]),
      ...(etcd.fetch ? ['--fetch-etcd'] : []),
      ...(runtime === 'cri' ? [] : [`--runtime=${runtime}`]),
    ];
  }

  #initConfig(machine: FleetMachine, look: MachineLook): string {
    const { init, cluster, kubelet } = this.#fleet.config;
    const advertiseAddress = advertiseAddressOf(machine, look);
    return [
      {
        ...init,
        apiVersion: 'kubeadm.k8s.io/v1beta4',
        kind: 'InitConfiguration',
        nodeRegistration: { ...init.nodeRegistration, ...registrationOf(machine) },
        localAPIEndpoint: { ...init.localAPIEndpoint, ...(advertiseAddress ? { advertiseAddress } : {}) },
      },
      { ...cluster, apiVersion: 'kubeadm.k8s.io/v1beta4', kind: 'ClusterConfiguration' },
      ...(kubelet
        ? [{ ...kubelet, apiVersion: 'kubelet.config.k8s.io/v1beta1', kind: 'KubeletConfiguration' }]
        : []),
    ]
      .map((document) => stringifyYaml(document))
      .join('---\n');
  }

  #joinConfig(machine: FleetMachine, { look, lead, invitation }: Joining): string {
    const { join, init } = this.#fleet.config;
    const { token, caCertHashes, certificateKey } = invitation;
    const advertiseAddress = advertiseAddressOf(machine, look);
    const bindPort = init.localAPIEndpoint?.bindPort;
    return stringifyYaml({
      ...join,
      apiVersion: 'kubeadm.k8s.io/v1beta4',
      kind: 'JoinConfiguration',
      nodeRegistration: { ...join.nodeRegistration, ...registrationOf(machine) },
      discovery: { bootstrapToken: { token, apiServerEndpoint: endpointOf(lead), caCertHashes } },
      ...(machine.role === 'control-plane' && {
        controlPlane: {
          localAPIEndpoint: {
            ...(advertiseAddress ? { advertiseAddress } : {}),
            ...(bindPort ? { bindPort } : {}),
          },
          certificateKey,
        },
      }),
    });
  }
}

function registrationOf({ name, taints }: FleetMachine): object {
  return { name, ...(taints === undefined ? {} : { taints }) };
}

/** An address that ssh reaches may be translated on the way: it is advertised only where the machine has it. */
function advertiseAddressOf(
  { advertiseAddress, address }: FleetMachine,
  { addresses }: MachineLook,
): string | undefined {
  return advertiseAddress ?? (addresses.includes(address) ? address : undefined);
}

function endpointOf({ advertiseAddress = '', bindPort = 6443 }: FoundRecord): string {
  return hostPort(advertiseAddress, bindPort);
}
