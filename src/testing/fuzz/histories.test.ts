/** Random histories of writes, by what readers see of them: watches against the differences of lists, pages against one moment's list, patches against plain models. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { KubeObject } from '#machinery/object.ts';
import { applyMergePatch } from '#machinery/patch/merge-patch.ts';
import { applyJsonPatch, InapplicableError } from '#machinery/patch/json-patch.ts';
import { startTestServer, type TestServer } from '#apiserver/testing/server.ts';
import { createMemoryStore } from '#storage/drivers/memory.ts';
import { seededRandom, type Random } from '#stdx/random.ts';
import { below, pick } from './random-values.ts';

const SEED = Number(process.env['FUZZ_SEED'] ?? 1);
const PATH = '/api/v1/namespaces/default/configmaps';
const NAMES = ['a', 'b', 'c', 'd', 'e', 'f'];

type State = ReadonlyMap<string, KubeObject>;

async function withServer(use: (server: TestServer) => Promise<void>): Promise<void> {
  const server = await startTestServer({ store: createMemoryStore({ autoCompact: false }) });
  try {
    await use(server);
  } finally {
    await server.stop();
    await server.store.close();
  }
}

/** One write; some do nothing. */
async function write(server: TestServer, random: Random): Promise<void> {
  const name = pick(random, NAMES),
    headers = { 'content-type': 'application/json' };
  const body = {
    metadata: { name, labels: { app: pick(random, ['x', 'y', 'z']) } },
    data: { n: String(below(random, 4)) },
  };
  if (random() < 0.3) await server.request(`DELETE ${PATH}/${name}`);
  else if (random() < 0.5) await server.request(`PUT ${PATH}/${name}`, { body, headers });
  else await server.request(`POST ${PATH}`, { body, headers });
}

async function listed(
  server: TestServer,
  query = '',
): Promise<{ readonly revision: number; readonly state: State }> {
  const { body } = await server.request(`GET ${PATH}${query}`);
  const items = body.items as KubeObject[];
  return {
    revision: Number(body.metadata.resourceVersion),
    state: new Map(
      items.map((item) => [item.metadata!.name!, { kind: 'ConfigMap', apiVersion: 'v1', ...item }]),
    ),
  };
}

const MATCHES: Readonly<Record<string, (object: KubeObject) => boolean>> = {
  '': () => true,
  'labelSelector=app%3Dx': ({ metadata }) => metadata?.labels?.['app'] === 'x',
  'labelSelector=app+notin+(x)': ({ metadata }) => metadata?.labels?.['app'] !== 'x',
  'fieldSelector=metadata.name%3Da': ({ metadata }) => metadata?.name === 'a',
};

function selected(state: State, matches: (object: KubeObject) => boolean): Map<string, KubeObject> {
  return new Map([...state].filter(([, object]) => matches(object)));
}

test(`a watch from any revision leads from that moment's list to the last one's, whatever it selects (seed ${SEED})`, () =>
  withServer(async (server) => {
    const random = seededRandom(SEED);
    // Revision 0 would stand for whatever is there.
    await write(server, random);
    const moments = [await listed(server)];
    for (let i = 0; i < 120; i++) {
      await write(server, random);
      moments.push(await listed(server));
    }
    const last = moments.at(-1)!;
    for (const [query, matches] of Object.entries(MATCHES)) {
      for (let round = 0; round < 25; round++) {
        const start = pick(random, moments);
        const watch = await server.watch(
          `${PATH}?watch=1&allowWatchBookmarks=true&resourceVersion=${start.revision}&${query}`,
        );
        const state = selected(start.state, matches);
        const target = selected(last.state, matches);
        let revision = start.revision;
        while (JSON.stringify([...state].toSorted()) !== JSON.stringify([...target].toSorted())) {
          const { type, object } = await watch.next();
          const name = object.metadata!.name!,
            at = Number(object.metadata!.resourceVersion);
          assert.ok(
            at > revision || (type === 'BOOKMARK' && at >= revision),
            `${type} at ${at} after ${revision}`,
          );
          revision = at;
          if (type === 'BOOKMARK') continue;
          assert.equal(
            type,
            !state.has(name) ? 'ADDED' : type === 'DELETED' ? 'DELETED' : 'MODIFIED',
            `${name} at ${at}`,
          );
          if (type === 'DELETED') state.delete(name);
          else {
            assert.ok(matches(object), 'only what was asked for');
            state.set(name, object);
          }
          // On the way, it is what a list of that moment showed.
          const moment = moments.find((one) => one.revision === at);
          if (moment) assert.deepEqual(state, selected(moment.state, matches), `at ${at}`);
        }
        watch.close();
      }
    }
  }));

test(`sendInitialEvents shows the list, then a bookmark, then what follows; what is compacted is 410 (seed ${SEED})`, () =>
  withServer(async (server) => {
    const random = seededRandom(SEED + 1);
    for (let i = 0; i < 30; i++) await write(server, random);
    const before = await listed(server);
    const watch = await server.watch(
      `${PATH}?watch=1&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan`,
    );
    const state = new Map<string, KubeObject>();
    for (;;) {
      const { type, object } = await watch.next();
      if (type === 'BOOKMARK') {
        assert.equal(object.metadata?.annotations?.['k8s.io/initial-events-end'], 'true');
        break;
      }
      assert.equal(type, 'ADDED');
      state.set(object.metadata!.name!, object);
    }
    watch.close();
    assert.deepEqual(state, new Map(before.state));
    const exact = await listed(server, `?resourceVersion=${before.revision}&resourceVersionMatch=Exact`);
    assert.deepEqual(exact.state, before.state);
    for (let i = 0; i < 20; i++) await write(server, random);
    await server.store.compact(Number((await listed(server)).revision));
    assert.equal(
      (await server.request(`GET ${PATH}?resourceVersion=${before.revision}&resourceVersionMatch=Exact`))
        .status,
      410,
    );
  }));

test(`pages show the moment of the first one, whatever is written between them (seed ${SEED})`, () =>
  withServer(async (server) => {
    const random = seededRandom(SEED + 2);
    for (let round = 0; round < 40; round++) {
      for (let i = 0; i < 8; i++) await write(server, random);
      const query = pick(random, ['', '&labelSelector=app%3Dx', '&labelSelector=app+in+(x,y)']);
      const whole = await listed(server, `?${query}`);
      const limit = 1 + below(random, 3);
      const seen: string[] = [];
      let token = '',
        revision = 0;
      do {
        const { status, body, text } = await server.request(
          `GET ${PATH}?limit=${limit}${query}${token === '' ? '' : `&continue=${encodeURIComponent(token)}`}`,
        );
        assert.equal(status, 200, text);
        assert.ok(body.items.length <= limit);
        if (token !== '') assert.equal(Number(body.metadata.resourceVersion), revision, 'of one moment');
        revision = Number(body.metadata.resourceVersion);
        for (const item of body.items as KubeObject[])
          seen.push(JSON.stringify([item.metadata!.name, item.metadata!.resourceVersion, item['data']]));
        if (body.metadata.remainingItemCount !== undefined)
          assert.equal(body.metadata.remainingItemCount, whole.state.size - seen.length);
        token = body.metadata.continue ?? '';
        for (let i = below(random, 4); i > 0; i--) await write(server, random);
      } while (token !== '');
      assert.deepEqual(
        seen,
        [...whole.state]
          .toSorted(([a], [b]) => (a < b ? -1 : 1))
          .map(([name, object]) => JSON.stringify([name, object.metadata!.resourceVersion, object['data']])),
      );
    }
  }));

// ---------------------------------------------------------------------------------------------------------------- patches

const json = fc
  .anything({
    maxDepth: 3,
    maxKeys: 4,
    key: fc.constantFrom('a', 'b', 'c', '__proto__', 'constructor', 'a/b', 'm~n', ''),
    values: [fc.constantFrom('x', 'y', 1, 0, true, null)],
  })
  .map((value) => JSON.parse(JSON.stringify(value) ?? 'null') as unknown);
const object = json.filter(
  (value) => typeof value === 'object' && value !== null && !Array.isArray(value),
) as fc.Arbitrary<KubeObject>;

/** RFC 7396, as it is written there. */
function mergeModel(target: unknown, patch: unknown): unknown {
  if (typeof patch !== 'object' || patch === null || Array.isArray(patch)) return patch;
  const result = new Map(
    typeof target === 'object' && target !== null && !Array.isArray(target) ? Object.entries(target) : [],
  );
  for (const [key, value] of Object.entries(patch)) {
    if (value === null) result.delete(key);
    else result.set(key, mergeModel(result.get(key), value));
  }
  return Object.fromEntries(result);
}

test('a merge patch does what its RFC says, and leaves what it was given alone', () => {
  fc.assert(
    fc.property(object, object, (target, patch) => {
      const before = JSON.stringify([target, patch]);
      assert.deepEqual(
        JSON.parse(JSON.stringify(applyMergePatch(target, patch))),
        JSON.parse(JSON.stringify(mergeModel(target, patch))),
      );
      assert.equal(JSON.stringify([target, patch]), before);
    }),
    { seed: SEED, numRuns: 3000 },
  );
});

/** Every place in a value as a JSON pointer, and what is there. */
function pointersOf(value: unknown, at = ''): [pointer: string, value: unknown][] {
  const inner =
    typeof value === 'object' && value !== null
      ? Object.entries(value).flatMap(([key, item]) =>
          pointersOf(item, `${at}/${key.replaceAll('~', '~0').replaceAll('/', '~1')}`),
        )
      : [];
  return [[at, value], ...inner];
}

test('a JSON patch that replaces, tests, removes and adds back any place ends where it began; one that fails changes nothing', () => {
  fc.assert(
    fc.property(object, fc.nat(), json, (target, index, value) => {
      const places = pointersOf(target).slice(1);
      if (places.length === 0) return;
      const [path, there] = places[index % places.length]!,
        before = JSON.stringify(target);
      const parent = path.slice(0, path.lastIndexOf('/'));
      assert.deepEqual(
        applyJsonPatch(target, [
          { op: 'test', path, value: there },
          { op: 'replace', path, value },
          { op: 'test', path, value },
          { op: 'remove', path },
          { op: 'add', path, value: there },
        ]),
        target,
      );
      assert.deepEqual(applyJsonPatch(target, [{ op: 'move', from: path, path }]), target);
      const copied = applyJsonPatch(target, [{ op: 'copy', from: path, path }]),
        holder = pointersOf(target).find(([at]) => at === parent)![1];
      // Into a list it is put once more.
      assert.deepEqual(
        Array.isArray(holder) ? applyJsonPatch(copied, [{ op: 'remove', path }]) : copied,
        target,
      );
      try {
        applyJsonPatch(target, [
          { op: 'replace', path, value: 'changed' },
          { op: 'remove', path: `${path}/nothing/here` },
        ]);
        assert.fail('should have been refused');
      } catch (error) {
        if (!(error instanceof InapplicableError)) throw error;
      }
      assert.equal(JSON.stringify(target), before);
    }),
    { seed: SEED, numRuns: 2000 },
  );
});

test(`server-side apply by several managers: each owns what it set last, and what nobody sets any more is gone (seed ${SEED})`, () =>
  withServer(async (server) => {
    const random = seededRandom(SEED + 3);
    for (let round = 0; round < 25; round++) {
      const path = `${PATH}/apply${round}`;
      const wants = new Map<string, Record<string, string>>();
      let values: Record<string, string> = {};
      for (let step = 0; step < 12; step++) {
        const manager = pick(random, ['m', 'n', 'o']);
        const config = Object.fromEntries(
          ['a', 'b', 'c', 'd'].filter(() => random() < 0.5).map((key) => [key, pick(random, ['1', '2'])]),
        );
        const force = random() < 0.5;
        const { status } = await server.request(`PATCH ${path}?fieldManager=${manager}&force=${force}`, {
          body: { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: `apply${round}` }, data: config },
          headers: { 'content-type': 'application/apply-patch+yaml' },
        });
        const conflicts = Object.keys(config).filter((key) =>
          [...wants].some(
            ([other, wanted]) => other !== manager && key in wanted && values[key] !== config[key],
          ),
        );
        assert.equal(
          status,
          conflicts.length > 0 && !force ? 409 : values === undefined || step === 0 ? 201 : 200,
          `${manager} ${JSON.stringify(config)} on ${JSON.stringify(values)}`,
        );
        if (status === 409) continue;
        const before = wants.get(manager) ?? {};
        wants.set(manager, config);
        // Forced: others lose what they had otherwise.
        for (const [other, wanted] of wants)
          if (other !== manager) for (const key of conflicts) delete wanted[key];
        const kept = Object.entries(values).filter(
          ([key]) =>
            !(key in before) ||
            key in config ||
            [...wants].some(([other, wanted]) => other !== manager && key in wanted),
        );
        values = { ...Object.fromEntries(kept), ...config };
        const { body } = await server.request(`GET ${path}`);
        assert.deepEqual(body.data ?? {}, values, `after ${manager}`);
        const owned = Object.fromEntries(
          (
            (body.metadata.managedFields as {
              manager: string;
              fieldsV1: Record<string, Record<string, unknown>>;
            }[]) ?? []
          ).map((entry) => [
            entry.manager,
            Object.keys(entry.fieldsV1['f:data'] ?? {})
              .filter((key) => key !== '.')
              .toSorted(),
          ]),
        );
        for (const [name, wanted] of wants)
          assert.deepEqual(
            owned[name] ?? [],
            Object.keys(wanted)
              .map((key) => `f:${key}`)
              .toSorted(),
            `${name}'s fields`,
          );
      }
    }
  }));
