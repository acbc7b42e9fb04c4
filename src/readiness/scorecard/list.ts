/** Every row, in the order of the page. To add one, add a file in rows/, its case in scorecard.test.ts, and a line here. */
import type { ScorecardRow } from './row.ts';
import { addingNodes } from './rows/adding-nodes.ts';
import { admission } from './rows/admission.ts';
import { apiBalancing } from './rows/api-balancing.ts';
import { authentication } from './rows/authentication.ts';
import { authorization } from './rows/authorization.ts';
import { backupsProven } from './rows/backups.ts';
import { certificateDates } from './rows/certificates.ts';
import { controlPlaneApart } from './rows/control-plane-apart.ts';
import { controlPlaneReplicas } from './rows/control-plane-replicas.ts';
import { dnsScaling } from './rows/dns.ts';
import { etcdReplicas } from './rows/etcd-replicas.ts';
import { limitRangeDefaults, quotas } from './rows/limits.ts';
import { nodeAutoscaling } from './rows/node-autoscaling.ts';
import { nodeProblemDetection } from './rows/node-problem-detection.ts';
import { nodeValidation } from './rows/node-validation.ts';
import { serviceAccountsOwn } from './rows/service-accounts.ts';
import { spareCapacity } from './rows/spare-capacity.ts';
import { upgrades } from './rows/versions.ts';
import { zones } from './rows/zones.ts';

export const ROWS: readonly ScorecardRow[] = [
  controlPlaneApart,
  certificateDates,
  apiBalancing,
  etcdReplicas,
  backupsProven,
  controlPlaneReplicas,
  zones,
  upgrades,
  nodeValidation,
  addingNodes,
  spareCapacity,
  nodeAutoscaling,
  nodeProblemDetection,
  authentication,
  authorization,
  admission,
  quotas,
  limitRangeDefaults,
  dnsScaling,
  serviceAccountsOwn,
];
