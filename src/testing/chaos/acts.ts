/**
 * Judges that only leaders act: what controllers and schedulers wrote comes from the API servers' audit logs, with the machine that it was sent from, and so does who
 * held the lease of leader election. A write by one machine between two renewals of another is a second leader that acts.
 *
 *   lease    m1 ---- m1 ---- m2 ---- m2          (samples: renewals)
 *   write        m1  ok  m1|m2 ok  m1  breach    between m1 and m2 either may still, or already, lead
 */

/** audit.k8s.io/v1, as far as it is read. */
interface AuditEvent {
  readonly auditID: string;
  readonly stage: string;
  readonly verb: string;
  readonly user: { readonly username: string };
  readonly sourceIPs?: readonly string[];
  readonly objectRef?: {
    readonly resource?: string;
    readonly subresource?: string;
    readonly namespace?: string;
    readonly name?: string;
  };
  readonly responseStatus?: { readonly code?: number };
  readonly responseObject?: { readonly spec?: { readonly holderIdentity?: string } };
  readonly requestReceivedTimestamp: string;
}

interface Moment {
  /** Milliseconds since the epoch, by a right clock, when an API server received it. */
  readonly at: number;
  /** Address that it came from. */
  readonly from: string;
}

interface LeaseSample extends Moment {
  readonly lease: string;
  readonly holder: string;
}

interface Act extends Moment {
  readonly lease: string;
  readonly what: string;
}

/** The user of both that holds leases itself; controllers write with service accounts of their own. */
const CONTROLLER_MANAGER = 'system:kube-controller-manager';
const SCHEDULER = 'system:kube-scheduler';
const SERVICE_ACCOUNTS = 'system:serviceaccount:kube-system:';
/** Has no leader: each machine's DNS server writes its own EndpointSlice. */
const DNS = `${SERVICE_ACCOUNTS}coredns`;
/** Those that do not lead write these, too: to be elected, and to ask about clients of their own endpoints. */
const WITHOUT_LEADING: ReadonlySet<string> = new Set(['leases', 'tokenreviews', 'subjectaccessreviews']);
/** How far clocks are wrong in a fault: whole hours. */
const WRONG_BY_MS = 3_600_000;

/** For the audit log of every API server. */
export const AUDIT_POLICY = JSON.stringify({
  apiVersion: 'audit.k8s.io/v1',
  kind: 'Policy',
  omitStages: ['RequestReceived'],
  rules: [
    {
      level: 'RequestResponse',
      users: [CONTROLLER_MANAGER, SCHEDULER],
      verbs: ['create', 'update', 'patch'],
      resources: [{ group: 'coordination.k8s.io', resources: ['leases'] }],
    },
    {
      level: 'Metadata',
      users: [CONTROLLER_MANAGER, SCHEDULER],
      verbs: ['create', 'update', 'patch', 'delete'],
    },
    {
      level: 'Metadata',
      userGroups: ['system:serviceaccounts:kube-system'],
      verbs: ['create', 'update', 'patch', 'delete'],
    },
    { level: 'None' },
  ],
});

export class Acts {
  readonly samples: LeaseSample[] = [];
  readonly acts: Act[] = [];
  readonly #known = new Set<string>();

  /** A server's log as it is now, audit events among other lines; what was read before is skipped. address: of the server. now: by a right clock. */
  read(log: string, { address, now }: { readonly address: string; readonly now: number }): void {
    for (const line of log.split('\n')) {
      if (!line.includes('"audit.k8s.io/v1"')) continue;
      const event = parsed(line);
      if (!event || event.stage !== 'ResponseComplete' || this.#known.has(event.auditID)) continue;
      this.#known.add(event.auditID);
      this.#add(event, { address, now });
    }
  }

  #add(event: AuditEvent, { address, now }: { readonly address: string; readonly now: number }): void {
    const { user, objectRef, responseObject, responseStatus } = event;
    if ((responseStatus?.code ?? 500) >= 300) return;
    const resource = [objectRef?.resource, objectRef?.subresource].filter(Boolean).join('/');
    const [source = ''] = event.sourceIPs ?? [];
    const from = /^(127\.|::1$)/.test(source) ? address : source.replace(/^::ffff:/, '');
    const moment = { at: rightTime(Date.parse(event.requestReceivedTimestamp), now), from };
    const holder = responseObject?.spec?.holderIdentity;
    if (resource === 'leases' && objectRef?.namespace === 'kube-system' && holder)
      this.samples.push({ ...moment, lease: objectRef.name ?? '', holder });
    const lease = leaseOf(user.username);
    if (!lease || WITHOUT_LEADING.has(resource)) return;
    const what = `${event.verb} ${resource} ${objectRef?.namespace ?? ''}/${objectRef?.name ?? ''} by ${user.username}`;
    this.acts.push({ ...moment, lease, what });
  }
}

/** A line that was cut by the end of its writer is none. */
function parsed(line: string): AuditEvent | undefined {
  try {
    return JSON.parse(line.slice(line.indexOf('{'))) as AuditEvent;
  } catch {
    return undefined;
  }
}

/** Logs are read often enough: no line is half an hour old when it is first read. */
function rightTime(at: number, now: number): number {
  return at - Math.round((at - now) / WRONG_BY_MS) * WRONG_BY_MS;
}

function leaseOf(user: string): string | undefined {
  if (user === SCHEDULER) return 'kube-scheduler';
  if (user === DNS) return undefined;
  const isController = user === CONTROLLER_MANAGER || user.startsWith(SERVICE_ACCOUNTS);
  return isController ? 'kube-controller-manager' : undefined;
}

/** One sentence a write of a machine that did not lead. */
export function judgeActs({ samples, acts }: Pick<Acts, 'samples' | 'acts'>): string[] {
  const found: string[] = [];
  for (const lease of new Set(acts.map((act) => act.lease))) {
    const held = samples.filter((sample) => sample.lease === lease).toSorted((a, b) => a.at - b.at);
    for (const act of acts) {
      if (act.lease !== lease) continue;
      const next = held.findIndex(({ at }) => at >= act.at);
      const [before, after] = [held[next - 1], held[next]];
      // Before the first renewal and after the last one that was read, nobody is known to lead.
      if (!before || !after || before.from === act.from || after.from === act.from) continue;
      const time = new Date(act.at).toISOString();
      found.push(`${lease}: ${act.from} did "${act.what}" at ${time} while ${before.from} led`);
    }
  }
  return found;
}
