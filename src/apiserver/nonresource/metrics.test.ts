import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Counter, Histogram } from '#stdx/instruments.ts';
import { startTestServer, type TestServer } from '../testing/server.ts';

let server: TestServer;
before(async () => {
  server = await startTestServer();
});
after(() => server.stop());

/** The value of a series; undefined where there is none. */
async function value(series: string, path = '/metrics'): Promise<number | undefined> {
  const { text } = await server.request(`GET ${path}`);
  const line = text.split('\n').find((candidate) => candidate.startsWith(`${series} `));
  return line === undefined ? undefined : Number(line.slice(series.length + 1));
}

const CONFIG_MAPS = '/api/v1/namespaces/counted/configmaps';
const labels = (verb: string, scope: string): string =>
  `component="apiserver",group="",resource="configmaps",scope="${scope}",subresource="",verb="${verb}",version="v1"`;

test('requests are counted with their sizes, and every family is declared once', async () => {
  const body = JSON.stringify({ metadata: { name: 'a' } });
  await server.request(`POST ${CONFIG_MAPS}`, { body, headers: { 'content-length': String(body.length) } });
  await server.request(`GET ${CONFIG_MAPS}`);
  assert.equal(
    await value(`apiserver_request_sli_duration_seconds_count{${labels('LIST', 'namespace')}}`),
    1,
  );
  assert.equal(await value(`apiserver_response_sizes_count{${labels('LIST', 'namespace')}}`), 1);
  assert.equal(
    await value('apiserver_request_body_size_bytes_sum{group="",resource="configmaps",verb="create"}'),
    body.length,
  );
  assert.ok(((await value('authorization_attempts_total{result="allowed"}')) ?? 0) >= 2);
  const { text } = await server.request('GET /metrics');
  const types = text.split('\n').filter((line) => line.startsWith('# TYPE '));
  assert.deepEqual(
    types.filter((line, i) => types.indexOf(line) !== i),
    [],
  );
  for (const line of text.trim().split('\n'))
    assert.match(line, /^(# (HELP|TYPE) \S+ .+|[a-z_:]+(\{[^}]*\})? [-+.\deE]+)$/);
});

test('a watch is counted while it runs, and each event it is sent', async () => {
  const running = `apiserver_longrunning_requests{${labels('WATCH', 'namespace')}}`,
    sent = 'apiserver_watch_events_total{group="",resource="configmaps",version="v1"}';
  const watch = await server.watch('/api/v1/namespaces/watched/configmaps?watch=true');
  const before_ = (await value(sent)) ?? 0;
  assert.equal(await value(running), 1);
  await server.request('POST /api/v1/namespaces/watched/configmaps', { body: { metadata: { name: 'w' } } });
  await watch.next();
  assert.equal(await value(sent), before_ + 1);
  watch.close();
  assert.equal(await value(running), 0);
  assert.equal(await value('apiserver_storage_events_received_total{group="",resource="configmaps"}'), 2);
});

test('deprecated APIs that were asked for, the version, the ranges of services', async () => {
  await server.request('GET /api/v1/endpoints');
  assert.equal(
    await value(
      'apiserver_requested_deprecated_apis{group="",removed_release="",resource="endpoints",subresource="",version="v1"}',
    ),
    1,
  );
  assert.match(
    (await server.request('GET /metrics')).text,
    /^kubernetes_build_info\{.*major="1",minor="36",.*\} 1$/m,
  );
  assert.equal(await value('kube_apiserver_nodeport_allocator_available_ports'), 2768);
});

test('health checks are figures too', async () => {
  await server.request('GET /livez/ping');
  assert.equal(await value('kubernetes_healthcheck{name="ping",type="livez"}', '/metrics/slis'), 1);
  assert.ok(
    ((await value(
      'kubernetes_healthchecks_total{name="ping",status="success",type="livez"}',
      '/metrics/slis',
    )) ?? 0) >= 2,
  );
  assert.match(
    (await server.request('GET /statusz')).text,
    /^\napiserver statusz\n.*\n\nStarted: \w{3} \w{3} [ \d]\d [\d:]{8} UTC \d{4}\nUp: \d+ hr \d\d min \d\d sec\n/,
  );
  assert.equal(
    (await server.request('GET /statusz', { headers: { accept: 'application/json' } })).status,
    406,
  );
});

test('instruments', () => {
  const counter = new Counter('c', 'Counts.');
  counter.add('');
  counter.add('a="b"', 2);
  assert.deepEqual(counter.render(), ['# HELP c Counts.', '# TYPE c counter', 'c 1', 'c{a="b"} 2']);
  const histogram = new Histogram('h', { help: 'Sizes.', bounds: [1, 2] });
  for (const size of [0.5, 2, 3]) histogram.observe('', size);
  assert.deepEqual(histogram.render().slice(2), [
    'h_bucket{le="1"} 1',
    'h_bucket{le="2"} 2',
    'h_bucket{le="+Inf"} 3',
    'h_sum 5.5',
    'h_count 3',
  ]);
});

test('families say how stable they are, and are counted by it', async () => {
  const server = await startTestServer();
  try {
    const path = '/api/v1/namespaces/default/configmaps';
    await server.request(`POST ${path}`, { body: { metadata: { name: 'a' } } });
    await server.request(`PUT ${path}/a`, { body: { metadata: { name: 'a' }, data: { a: 'b' } } });
    await server.request(`DELETE ${path}/none`);
    await server.request(`GET ${path}`);
    await server.request(`GET ${path}?labelSelector=x`);
    const lines = (await server.request('GET /metrics')).text.split('\n');
    for (const line of [
      '# HELP apiserver_request_total [STABLE] Requests answered, by verb, group, version, resource, scope and code.',
      'hidden_metrics_total 0',
      'etcd_requests_total{group="",operation="create",resource="configmaps"} 1',
      'etcd_requests_total{group="",operation="update",resource="configmaps"} 1',
      'apiserver_cache_list_total{group="",index="",resource="configmaps"} 2',
      'apiserver_cache_list_fetched_objects_total{group="",index="",resource="configmaps"} 2',
      'apiserver_cache_list_returned_objects_total{group="",resource="configmaps"} 1',
      'apiserver_watch_cache_consistent_read_total{fallback="false",group="",resource="configmaps",success="true"} 2',
      'apiserver_storage_size_bytes{storage_cluster_id="embedded"} 0',
    ])
      assert.ok(lines.includes(line), line);
    const count = (level: string): number =>
      Number(
        / (\d+)$/.exec(
          lines.find((line) =>
            line.startsWith(`registered_metrics_total{deprecated_version="",stability_level="${level}"}`),
          ) ?? '',
        )?.[1],
      );
    for (const level of ['STABLE', 'BETA', 'ALPHA'])
      assert.equal(
        count(level),
        lines.filter((line) => line.startsWith('# HELP') && line.includes(`[${level}]`)).length,
        level,
      );
    assert.match((await server.request('DELETE /metrics')).text, /metrics reset/);
    assert.doesNotMatch(
      (await server.request('GET /metrics')).text,
      /^apiserver_request_total\{.*verb="POST"/m,
    );
  } finally {
    await server.stop();
  }
});
