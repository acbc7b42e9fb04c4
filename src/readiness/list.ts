/** Every check, in the order that they are run and shown. To add one, add a file in checks/, its case in checks.test.ts, and a line here. */
import type { ReadinessCheck } from './check.ts';
import { apiServers } from './checks/api-servers.ts';
import { apiServicesAvailable } from './checks/api-services.ts';
import { backups } from './checks/backups.ts';
import { certificates } from './checks/certificates.ts';
import { clockSkew } from './checks/clock-skew.ts';
import { crashLoops } from './checks/crash-loops.ts';
import { defaultClasses } from './checks/default-classes.ts';
import { deprecatedApis } from './checks/deprecated-apis.ts';
import { disk } from './checks/disk.ts';
import { disruptionBudgets } from './checks/disruption-budgets.ts';
import { etcd } from './checks/etcd.ts';
import { leases } from './checks/leases.ts';
import { namespaces } from './checks/namespaces.ts';
import { nodes } from './checks/nodes.ts';
import { sysctls } from './checks/sysctls.ts';
import { versions } from './checks/versions.ts';
import { webhooks } from './checks/webhooks.ts';

export const CHECKS: readonly ReadinessCheck[] = [
  apiServers,
  etcd,
  leases,
  nodes,
  versions,
  certificates,
  clockSkew,
  disk,
  sysctls,
  backups,
  apiServicesAvailable,
  webhooks,
  namespaces,
  disruptionBudgets,
  crashLoops,
  defaultClasses,
  deprecatedApis,
];

/** What an upgrade depends on. */
export const BEFORE_UPGRADE: readonly ReadinessCheck[] = [
  apiServers,
  etcd,
  leases,
  nodes,
  versions,
  certificates,
  disk,
  backups,
  apiServicesAvailable,
  webhooks,
  disruptionBudgets,
  deprecatedApis,
];
