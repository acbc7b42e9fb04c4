import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RestClientMetrics } from './metrics.ts';
import type { Transport } from './transport.ts';

test('requests are counted by code, method and host, failures too', async () => {
  const metrics = new RestClientMetrics();
  let fails = false;
  const transport: Transport = {
    request: () =>
      fails
        ? Promise.reject(new Error('refused'))
        : Promise.resolve({
            status: 201,
            headers: {},
            bytes: () => Promise.resolve(Buffer.from('answer')),
            stream: () => [] as unknown as AsyncIterable<Buffer>,
          }),
    close: () => Promise.resolve(),
  };
  const measured = metrics.measured(transport, '10.0.0.1:6443');
  const response = await measured.request({ method: 'POST', path: '/x', body: 'four' });
  assert.equal(String(await response.bytes()), 'answer');
  fails = true;
  await assert.rejects(measured.request({ method: 'GET', path: '/x' }), /refused/);
  const lines = metrics.render();
  for (const line of [
    'rest_client_requests_total{code="201",host="10.0.0.1:6443",method="POST"} 1',
    'rest_client_requests_total{code="<error>",host="10.0.0.1:6443",method="GET"} 1',
    'rest_client_request_duration_seconds_count{host="10.0.0.1:6443",verb="GET"} 1',
    'rest_client_request_size_bytes_sum{host="10.0.0.1:6443",verb="POST"} 4',
    'rest_client_response_size_bytes_sum{host="10.0.0.1:6443",verb="POST"} 6',
  ])
    assert.ok(lines.includes(line), line);
});
