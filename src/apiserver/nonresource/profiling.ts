/**
 * /debug/pprof: profiles of the running process, in pprof's format under upstream's paths. V8 has a CPU profile and allocation samples; Go-only
 * profiles are refused by name. One profile at a time, at a cost of a few percent while it runs.
 */
import type { HeapProfiler, Profiler, Session } from 'node:inspector/promises';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { encodePprof, type CallNode, type Profile } from '#machinery/codec/pprof.ts';
import type { Clock } from '#stdx/clock.ts';
import type { RequestContext } from '../context.ts';
import type { ApiResponse } from '../http/request.ts';
import { textResponse } from '../http/response.ts';
import type { PathHandler } from './paths.ts';

const PROFILING_PATH = '/debug/pprof';

const CPU_SECONDS = 30;
const HEAP_SECONDS = 10;
/** Maximum duration, since samples are kept in memory. */
const MAX_SECONDS = 300;
const CPU_INTERVAL_MICROSECONDS = 1000;
/** On average one allocation is sampled in so many bytes. */
const HEAP_INTERVAL_BYTES = 32 * 1024;

interface Kind {
  readonly about: string;
  readonly defaultSeconds: number;
  take(session: Session, wait: () => Promise<void>): Promise<Pick<Profile, 'types' | 'root' | 'period'>>;
}

const KINDS: Readonly<Record<string, Kind>> = {
  profile: {
    about: `CPU profile of the next ?seconds=${CPU_SECONDS}`,
    defaultSeconds: CPU_SECONDS,
    take: cpuProfile,
  },
  heap: {
    about: `allocations of the next ?seconds=${HEAP_SECONDS} that are still in use then, sampled`,
    defaultSeconds: HEAP_SECONDS,
    take: (session, wait) => heapProfile(session, { wait, live: true }),
  },
  allocs: {
    about: `all allocations of the next ?seconds=${HEAP_SECONDS}, sampled`,
    defaultSeconds: HEAP_SECONDS,
    take: (session, wait) => heapProfile(session, { wait, live: false }),
  },
};
/** Of Go's run time: there is nothing like them here. */
const ABSENT = ['block', 'goroutine', 'mutex', 'symbol', 'threadcreate', 'trace'];

export function profilingPaths(clock: Clock): Readonly<Record<string, PathHandler>> {
  let busy = false;
  const taking =
    (name: string, kind: Kind): PathHandler =>
    async (context) => {
      if (busy)
        return textResponse(500, `Could not enable ${name} profiling: a profile is being taken already\n`);
      busy = true;
      try {
        return await profileResponse(name, kind, { context, clock });
      } finally {
        busy = false;
      }
    };
  return {
    [PROFILING_PATH]: () => ({
      status: 302,
      headers: {
        location: `${PROFILING_PATH}/`,
        'content-type': 'text/html; charset=utf-8',
        'cache-control': 'no-cache, private',
      },
      body: Buffer.alloc(0),
    }),
    [`${PROFILING_PATH}/`]: () => textResponse(200, indexPage(), 'text/html; charset=utf-8'),
    ...Object.fromEntries(
      Object.entries(KINDS).map(([name, kind]) => [`${PROFILING_PATH}/${name}`, taking(name, kind)]),
    ),
    ...Object.fromEntries(
      ABSENT.map((name) => [
        `${PROFILING_PATH}/${name}`,
        () =>
          textResponse(
            501,
            `There is no ${name} profile: this server runs on Node.js, where only Go has one. There are: ${Object.keys(KINDS).join(', ')}.\n`,
          ),
      ]),
    ),
  };
}

async function profileResponse(
  name: string,
  { defaultSeconds, take }: Kind,
  { context, clock }: { readonly context: RequestContext; readonly clock: Clock },
): Promise<ApiResponse> {
  const asked = Number(context.info.query['seconds'] ?? 0);
  const seconds = asked > 0 ? Math.min(asked, MAX_SECONDS) : defaultSeconds;
  const { Session: Inspector } = await import('node:inspector/promises');
  const session = new Inspector(),
    startMs = clock.now();
  session.connect();
  try {
    const taken = await take(session, () => waited(context, clock, seconds));
    const body = await promisify(gzip)(encodePprof({ ...taken, startMs, durationMs: clock.now() - startMs }));
    return {
      status: 200,
      headers: {
        'content-type': 'application/octet-stream',
        'content-disposition': `attachment; filename="${name}"`,
        'x-content-type-options': 'nosniff',
        'cache-control': 'no-cache, private',
      },
      body,
    };
  } finally {
    session.disconnect();
  }
}

/** Ends early when the client is gone. */
function waited({ request }: RequestContext, clock: Clock, seconds: number): Promise<void> {
  return new Promise((resolve) => {
    const timer = clock.after(seconds * 1000, resolve);
    request.onAbort(() => {
      timer.cancel();
      resolve();
    });
  });
}

async function cpuProfile(session: Session, wait: () => Promise<void>): ReturnType<Kind['take']> {
  await session.post('Profiler.enable');
  await session.post('Profiler.setSamplingInterval', { interval: CPU_INTERVAL_MICROSECONDS });
  await session.post('Profiler.start');
  await wait();
  const { profile } = await session.post('Profiler.stop');
  return {
    types: [
      { type: 'samples', unit: 'count' },
      { type: 'cpu', unit: 'nanoseconds' },
    ],
    root: cpuTree(profile),
    period: { type: 'cpu', unit: 'nanoseconds', value: CPU_INTERVAL_MICROSECONDS * 1000 },
  };
}

/** V8 records idle time as a call, which Go's profiles do not have. */
const IDLE = new Set(['(idle)', '(program)']);

function cpuTree({ nodes, samples = [], timeDeltas = [] }: Profiler.Profile): CallNode {
  const spent = new Map<number, [count: number, nanoseconds: number]>();
  samples.forEach((id, index) => {
    const of = spent.get(id) ?? [0, 0];
    spent.set(id, [of[0] + 1, of[1] + Math.max(timeDeltas[index + 1] ?? 0, 0) * 1000]);
  });
  const byId = new Map(nodes.map((node) => [node.id, node]));
  const tree = (node: Profiler.ProfileNode): CallNode => ({
    ...frameOf(node.callFrame),
    values: IDLE.has(node.callFrame.functionName) ? undefined : spent.get(node.id),
    children: (node.children ?? []).map((id) => tree(byId.get(id)!)),
  });
  return tree(nodes[0]!);
}

async function heapProfile(
  session: Session,
  { wait, live }: { readonly wait: () => Promise<void>; readonly live: boolean },
): ReturnType<Kind['take']> {
  await session.post('HeapProfiler.startSampling', {
    samplingInterval: HEAP_INTERVAL_BYTES,
    includeObjectsCollectedByMajorGC: !live,
    includeObjectsCollectedByMinorGC: !live,
  });
  await wait();
  const { profile } = await session.post('HeapProfiler.stopSampling');
  const tree = (node: HeapProfiler.SamplingHeapProfileNode): CallNode => ({
    ...frameOf(node.callFrame),
    values: node.selfSize > 0 ? [node.selfSize] : undefined,
    children: node.children.map(tree),
  });
  return {
    types: [{ type: live ? 'inuse_space' : 'alloc_space', unit: 'bytes' }],
    root: tree(profile.head),
    period: { type: 'space', unit: 'bytes', value: HEAP_INTERVAL_BYTES },
  };
}

function frameOf({
  functionName,
  url,
  lineNumber,
}: {
  readonly functionName: string;
  readonly url: string;
  readonly lineNumber: number;
}): Pick<CallNode, 'functionName' | 'url' | 'line'> {
  return { functionName, url, line: Math.max(lineNumber + 1, 0) };
}

function indexPage(): string {
  const rows = Object.entries(KINDS).map(
    ([name, { about }]) => `<li><a href="${name}">${name}</a>: ${about}</li>`,
  );
  return `<html><head><title>${PROFILING_PATH}/</title></head><body>${PROFILING_PATH}/<p>Profiles in pprof's format:</p><ul>${rows.join('')}</ul></body></html>\n`;
}
