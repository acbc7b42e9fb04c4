/** Phase preflight: what would keep this machine from being a control plane, before anything is written. */
import type { ExternalEtcd } from '../../config/types.ts';
import { UserError } from '../../data-dir.ts';
import { externalEtcdFiles } from '../../machine/external-etcd.ts';
import { isInRanges } from '../../machine/service-address.ts';
import { failure, runChecks, type Check } from '../../preflight/check.ts';
import {
  clock as clockCheck,
  diskSpace,
  hostName,
  isLinux,
  isPrivilegedUser,
  memory,
  mtu,
  numCPU,
  portFree,
} from '../../preflight/checks.ts';
import {
  etcdCheck,
  externalEtcdCheck,
  MINIMUM_DISK_BYTES,
  MINIMUM_MEMORY_BYTES,
  realNodeChecks,
} from '../../preflight/machine-checks.ts';
import type { Phase } from '../phase.ts';
import type { InitContext } from './context.ts';

export const preflight: Phase<InitContext> = {
  name: 'preflight',
  short: 'Run pre-flight checks',
  async run(context) {
    const { print, warn, options } = context;
    print('[preflight] Running pre-flight checks');
    requireSameMachine(context);
    await runChecks(selectChecks(context), {
      ignore: options.ignorePreflightErrors,
      warn: (line) => warn(line),
    });
  },
};

function selectChecks(context: InitContext): readonly Check[] {
  const { init, cluster, options, paths, clock, program } = context;
  const { advertiseAddress: address, bindPort } = init.localAPIEndpoint;
  const ours = { holdsIt: () => program.isSupervised() };
  const isReal = options.runtime === 'cri';
  return [
    ...(isReal ? [isPrivilegedUser(), isLinux()] : []),
    numCPU(),
    memory(MINIMUM_MEMORY_BYTES),
    clockCheck(clock.now()),
    addressesCheck(context),
    portFree(bindPort, ours),
    portFree(10257, ours),
    portFree(10259, ours),
    ...(cluster.etcd.local ? [portFree(2379, ours), portFree(2380, { ...ours, address })] : []),
    ...(isReal ? realNodeChecks({ ours, manifests: paths.manifests }) : []),
    cluster.etcd.external ? externalEtcdOf(context, cluster.etcd.external) : etcdOf(context),
    hostName(init.nodeRegistration.name),
    mtu(address),
    diskSpace(paths.etcdData, { minimumBytes: MINIMUM_DISK_BYTES }),
  ];
}

function etcdOf({ options, paths }: InitContext): Check {
  return etcdCheck({ given: options.etcdBinary, kept: paths.capstan, mayFetch: options.mayFetchEtcd });
}

function externalEtcdOf({ paths, program }: InitContext, external: ExternalEtcd): Check {
  const { endpoints = [] } = external;
  const files = externalEtcdFiles(paths, external);
  return externalEtcdCheck({
    endpoints,
    files: Object.values(files),
    connect: () => program.etcd({ endpoints, ...files }),
  });
}

function addressesCheck({ init, cluster }: InitContext): Check {
  const { advertiseAddress } = init.localAPIEndpoint;
  const { serviceSubnet, podSubnet } = cluster.networking;
  return {
    name: 'Addresses',
    run() {
      const [first = ''] = serviceSubnet.split(',');
      if (advertiseAddress.includes(':') !== first.includes(':'))
        return failure(
          `the address ${advertiseAddress} of this machine is not of the family of the first serviceSubnet ${first}`,
          'give one that is with --apiserver-advertise-address (localAPIEndpoint.advertiseAddress)',
        );
      const clash = Object.entries({ serviceSubnet, podSubnet }).find(([, ranges]) =>
        isInRanges(advertiseAddress, ranges),
      );
      if (!clash) return undefined;
      return failure(
        `the address ${advertiseAddress} of this machine lies in ${clash[0]} ${clash[1]}`,
        'choose another range',
      );
    },
  };
}

/** A repeated init completes the first; with other arguments it would mix two clusters. */
function requireSameMachine({ machine, init, endpoint, cluster }: InitContext): void {
  const record = machine.read();
  if (record.role === undefined) return;
  if (record.role !== 'control-plane' || record.phases['join'] !== undefined)
    throw new UserError(
      `this machine is a ${record.role} of ${record.controlPlaneEndpoint} already: it leaves that cluster with \`capstan leave\`, and is cleaned with \`capstan reset\``,
    );
  const local = init.localAPIEndpoint;
  const pairs: readonly (readonly [what: string, was: unknown, is: unknown])[] = [
    ['node name', record.nodeName, init.nodeRegistration.name],
    ['control-plane endpoint', record.controlPlaneEndpoint, endpoint],
    ['advertise address', record.advertiseAddress, local.advertiseAddress],
    ['bind port', record.bindPort, local.bindPort],
    ['service range', record.networking?.serviceSubnet, cluster.networking.serviceSubnet],
    ['pod range', record.networking?.podSubnet, cluster.networking.podSubnet],
    ['DNS domain', record.networking?.dnsDomain, cluster.networking.dnsDomain],
  ];
  const differs = pairs.find(([, was, is]) => was !== undefined && was !== is);
  if (differs)
    throw new UserError(
      `this machine was initialized with the ${differs[0]} ${String(differs[1])}, and now ${String(differs[2])} is asked for: run init as before, or start over with \`capstan reset\``,
    );
}
