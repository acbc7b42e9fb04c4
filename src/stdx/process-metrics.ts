/** Process metrics in Prometheus' text format: process_* with the names of all client libraries, nodejs_* with those of prom-client. Collected at a scrape. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { performance } from 'node:perf_hooks';
import { cpuUsage, memoryUsage, uptime, version } from 'node:process';
import { getHeapStatistics } from 'node:v8';

/** Seconds since the epoch. Constant over scrapes, even when the clock is set. */
export const STARTED_SECONDS = Math.round((Date.now() / 1000 - uptime()) * 100) / 100;

export function startLines(): string[] {
  return gauge(
    'process_start_time_seconds',
    'When the process began, in seconds since the epoch.',
    STARTED_SECONDS,
  );
}

export function processLines(): string[] {
  const cpu = cpuUsage();
  return [
    ...counter(
      'process_cpu_seconds_total',
      'Processor time of this process in seconds.',
      (cpu.user + cpu.system) / 1e6,
    ),
    ...gauge('process_resident_memory_bytes', 'Resident memory in bytes.', memoryUsage.rss()),
    ...startLines(),
    ...(existsSync('/proc/self/status') ? linuxLines() : []),
    ...nodeLines(),
  ];
}

/** The same sources as Go's client library. */
function linuxLines(): string[] {
  const limits = readFileSync('/proc/self/limits', 'utf8'),
    octets = networkOctets(readFileSync('/proc/self/net/netstat', 'utf8'));
  const limitOf = (name: string): number =>
    Number(new RegExp(`^${name}\\s+(\\d+)`, 'm').exec(limits)?.[1] ?? Infinity);
  const virtualKilobytes = Number(
    /^VmSize:\s+(\d+)/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? 0,
  );
  const most = limitOf('Max address space');
  return [
    ...gauge('process_virtual_memory_bytes', 'Address space in bytes.', virtualKilobytes * 1024),
    // Go's value for no limit.
    ...gauge(
      'process_virtual_memory_max_bytes',
      'The most address space allowed, in bytes.',
      most === Infinity ? '1.8446744073709552e+19' : most,
    ),
    ...gauge('process_open_fds', 'Open file descriptors.', readdirSync('/proc/self/fd').length),
    ...gauge('process_max_fds', 'The most file descriptors allowed.', limitOf('Max open files')),
    ...counter(
      'process_network_receive_bytes_total',
      'Bytes received by the network namespace of this process.',
      octets.received,
    ),
    ...counter(
      'process_network_transmit_bytes_total',
      'Bytes sent by the network namespace of this process.',
      octets.sent,
    ),
  ];
}

function networkOctets(netstat: string): { readonly received: number; readonly sent: number } {
  const [names = [], values = []] = netstat
    .split('\n')
    .filter((line) => line.startsWith('IpExt:'))
    .map((line) => line.split(' '));
  const of = (name: string): number => Number(values[names.indexOf(name)] ?? 0);
  return { received: of('InOctets'), sent: of('OutOctets') };
}

function nodeLines(): string[] {
  const { heapUsed, heapTotal, external } = memoryUsage();
  const [major, minor, patch] = version.slice(1).split('.');
  return [
    ...gauge(
      'nodejs_version_info',
      'Version of Node.js; the value is 1.',
      1,
      `version="${version}",major="${major}",minor="${minor}",patch="${patch}"`,
    ),
    ...gauge('nodejs_heap_size_total_bytes', 'Heap that is reserved, in bytes.', heapTotal),
    ...gauge('nodejs_heap_size_used_bytes', 'Heap that is used, in bytes.', heapUsed),
    ...gauge(
      'nodejs_heap_size_limit_bytes',
      'The most heap there may be, in bytes.',
      getHeapStatistics().heap_size_limit,
    ),
    ...gauge('nodejs_external_memory_bytes', 'Memory of buffers outside the heap, in bytes.', external),
    ...gauge(
      'nodejs_eventloop_utilization',
      'Part of its time this thread was busy, since its start.',
      performance.eventLoopUtilization().utilization,
    ),
    ...gauge('nodejs_available_parallelism', 'Processors this process may use.', availableParallelism()),
  ];
}

function gauge(name: string, help: string, value: number | string, labels = ''): string[] {
  return family(name, { type: 'gauge', help, value, labels });
}

function counter(name: string, help: string, value: number): string[] {
  return family(name, { type: 'counter', help, value, labels: '' });
}

function family(
  name: string,
  {
    type,
    help,
    value,
    labels,
  }: {
    readonly type: string;
    readonly help: string;
    readonly value: number | string;
    readonly labels: string;
  },
): string[] {
  return [
    `# HELP ${name} ${help}`,
    `# TYPE ${name} ${type}`,
    `${name}${labels === '' ? '' : `{${labels}}`} ${value}`,
  ];
}
