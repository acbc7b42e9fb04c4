/** Metrics of the balancer in Prometheus' text format. Labels are addresses of API servers, at most MAX_SERVERS at a time. */
import { Counter, Gauge, label } from '#stdx/instruments.ts';
import type { PoolServer } from './pool.ts';

export class BalancerMetrics {
  readonly connections = new Counter(
    'capstan_balancer_connections_total',
    'Connections passed to an API server.',
  );
  readonly open = new Gauge('capstan_balancer_connections', 'Connections that are open now.');
  readonly dialFailures = new Counter(
    'capstan_balancer_dial_failures_total',
    'Connections to an API server that could not be made.',
  );
  readonly ejections = new Counter(
    'capstan_balancer_ejections_total',
    'How often an API server was ejected.',
  );
  readonly cut = new Counter(
    'capstan_balancer_connections_cut_total',
    'Connections cut because their API server was ejected.',
  );
  readonly rejected = new Counter(
    'capstan_balancer_connections_rejected_total',
    'Connections closed without a server: reason limit (too many at a time) or no_server (no API server took it).',
  );
  readonly sent = new Counter(
    'capstan_balancer_sent_bytes_total',
    'Bytes sent to API servers, counted at the end of a connection.',
  );
  readonly received = new Counter(
    'capstan_balancer_received_bytes_total',
    'Bytes received from API servers, counted at the end of a connection.',
  );
  readonly ready = new Gauge('capstan_balancer_server_ready', '1 while the API server passes its check.');

  render(servers: readonly PoolServer[]): string {
    for (const { key, health, connections } of servers) {
      this.ready.set(label('server', key), health === 'ready' ? 1 : 0);
      this.open.set(label('server', key), connections.size);
    }
    const families = [
      this.connections,
      this.open,
      this.dialFailures,
      this.ejections,
      this.cut,
      this.rejected,
      this.sent,
      this.received,
      this.ready,
    ];
    return `${families.flatMap((family) => family.render()).join('\n')}\n`;
  }

  /** Of a server that is no longer named. */
  gone(key: string): void {
    this.ready.set(label('server', key), 0);
    this.open.set(label('server', key), 0);
  }
}
