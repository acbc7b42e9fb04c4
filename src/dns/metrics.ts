/** Queries as CoreDNS's coredns_* metrics, with one zone for the cluster and one for everything else. */
import { Counter, Histogram, label, type Labels } from '#stdx/instruments.ts';
import { exponentialBuckets, type MetricsRegistry } from '#stdx/metrics-registry.ts';

const SECONDS = exponentialBuckets(0.00025, 2, 16);
const BYTES = [0, 100, 200, 300, 400, 511, 1023, 2047, 4095, 8291, 16e3, 32e3, 48e3, 64e3];
/** As CoreDNS counts them; others are 'other'. */
const TYPES = new Set([
  'A',
  'AAAA',
  'CNAME',
  'DNSKEY',
  'DS',
  'HTTPS',
  'MX',
  'NS',
  'NSEC',
  'NSEC3',
  'PTR',
  'RRSIG',
  'SOA',
  'SRV',
  'SVCB',
  'TXT',
]);
const RCODES = ['NOERROR', 'FORMERR', 'SERVFAIL', 'NXDOMAIN', 'NOTIMP', 'REFUSED'];
const SERVER = label('server', 'dns://:53');

interface Query {
  /** Undefined: it could not be parsed. */
  readonly type: string | undefined;
  readonly inCluster: boolean;
  readonly transport: 'udp' | 'tcp';
  readonly family: 4 | 6;
  readonly bytes: number;
}

export class DnsMetrics {
  readonly #domain: string;
  readonly #requests = new Counter(
    'coredns_dns_requests_total',
    'Queries, by zone, protocol, family and type.',
  );
  readonly #responses = new Counter('coredns_dns_responses_total', 'Responses, by zone and code.');
  readonly #seconds = new Histogram('coredns_dns_request_duration_seconds', {
    help: 'Time to the response, by zone.',
    bounds: SECONDS,
  });
  readonly #size = new Histogram('coredns_dns_request_size_bytes', {
    help: 'Size of queries, by zone and protocol.',
    bounds: BYTES,
  });
  readonly #responseSize = new Histogram('coredns_dns_response_size_bytes', {
    help: 'Size of responses, by zone and protocol.',
    bounds: BYTES,
  });
  readonly #panics = new Counter(
    'coredns_panics_total',
    'Queries that an error of this program left without an answer.',
  );

  constructor(domain: string, registry: MetricsRegistry | undefined) {
    this.#domain = `${domain}.`;
    this.#panics.of('');
    registry?.add(
      this.#requests,
      this.#responses,
      this.#seconds,
      this.#size,
      this.#responseSize,
      this.#panics,
    );
  }

  panicked(): void {
    this.#panics.add('');
  }

  answered(
    query: Query,
    { response, seconds }: { readonly response: Buffer; readonly seconds: number },
  ): void {
    const zone = label('zone', query.inCluster ? this.#domain : '.');
    const place = `${SERVER},${zone},${label('view', '')}`;
    const protocol = label('proto', query.transport);
    const type = query.type !== undefined && TYPES.has(query.type) ? query.type : 'other';
    const family: Labels = label('family', String(query.family === 4 ? 1 : 2));
    this.#requests.add(`${place},${protocol},${family},${label('type', type)}`);
    const rcode = RCODES[(response[3] ?? 0) & 0x0f] ?? 'other';
    this.#responses.add(
      `${place},${label('rcode', rcode)},${label('plugin', query.inCluster ? 'kubernetes' : 'forward')}`,
    );
    this.#seconds.observe(place, seconds);
    this.#size.observe(`${place},${protocol}`, query.bytes);
    this.#responseSize.observe(`${place},${protocol}`, response.length);
  }
}
