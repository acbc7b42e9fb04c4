/** A whole API server that behaves as an older version: what it says, serves and stores. */
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { CodecStore } from '#apiserver/storagecodec/codec-store.ts';
import { decodeEnvelope } from '#machinery/codec/protobuf.ts';
import { parseMajorMinor } from '#machinery/effective-version.ts';
import { createMemoryStore } from '#storage/drivers/memory.ts';
import { createDirectTransport } from '#client/direct.ts';
import { ADMIN, startTestApi, type TestApi } from '#testing/start-test-api.ts';
import { servingFrom } from './flags/serving.ts';

async function apiRequest(
  { handler }: TestApi['server'],
  line: string,
  body?: object,
): Promise<{ readonly status: number; readonly text: string }> {
  const [method = '', path = ''] = line.split(' ');
  const transport = createDirectTransport(handler, { user: ADMIN });
  const headers = { 'content-type': 'application/json' };
  const response = await transport.request({ method, path, headers, body: body && JSON.stringify(body) });
  return { status: response.status, text: (await response.bytes()).toString() };
}

const POLICIES = '/apis/admissionregistration.k8s.io/v1beta1/mutatingadmissionpolicies';
const KEY = '/registry/mutatingadmissionpolicies/a';

describe('an API server that emulates an older version', () => {
  const started: TestApi[] = [];
  after(async () => {
    for (const one of started) await one.stop();
  });
  const raw = createMemoryStore({});
  const start = async (emulated: string, minCompatibility: string): Promise<TestApi> => {
    const one = await startTestApi({
      store: new CodecStore(raw, parseMajorMinor(minCompatibility)),
      serving: servingFrom({
        emulatedVersion: [emulated],
        minCompatibilityVersion: [minCompatibility],
        runtimeConfig: 'api/beta=true',
      }),
    });
    started.push(one);
    return one;
  };
  const storedAs = async (): Promise<string> => decodeEnvelope((await raw.get(KEY))!.value).apiVersion;

  test('what it says and serves', async () => {
    const { server } = await start('1.35', '1.34');
    const { emulationMinor, minCompatibilityMinor, minor } = JSON.parse(
      (await apiRequest(server, 'GET /version')).text,
    ) as Record<string, string>;
    assert.deepEqual([minor, emulationMinor, minCompatibilityMinor], ['36', '35', '34']);
    const kinds = (await apiRequest(server, 'GET /apis/admissionregistration.k8s.io/v1')).text;
    assert.match(kinds, /validatingadmissionpolicies/);
    assert.doesNotMatch(kinds, /mutatingadmissionpolicies/);
    const metrics = (await apiRequest(server, 'GET /metrics')).text;
    assert.match(metrics, /version_info\{binary="1\.36\.0[^}]*emulation="1\.35",min_compat="1\.34"\} 1/);
    assert.match(metrics, /kubernetes_feature_enabled\{name="MutatingAdmissionPolicy",stage="BETA"\} 0/);
  });

  test('an object is stored as the oldest compatible server knows it, and moves on after the raise', async () => {
    const old = await start('1.35', '1.34');
    const policy = {
      metadata: { name: 'a' },
      spec: {
        reinvocationPolicy: 'Never',
        failurePolicy: 'Fail',
        matchConstraints: {
          resourceRules: [
            { apiGroups: [''], apiVersions: ['v1'], resources: ['configmaps'], operations: ['CREATE'] },
          ],
        },
        mutations: [{ patchType: 'ApplyConfiguration', applyConfiguration: { expression: 'Object{}' } }],
      },
    };
    const made = await apiRequest(old.server, `POST ${POLICIES}`, policy);
    assert.equal(made.status, 201, made.text);
    assert.equal(await storedAs(), 'admissionregistration.k8s.io/v1beta1');
    const raised = await start('1.36', '1.36');
    const read = await apiRequest(raised.server, `GET ${POLICIES}/a`);
    assert.equal((await apiRequest(raised.server, `PUT ${POLICIES}/a`, JSON.parse(read.text))).status, 200);
    assert.equal(await storedAs(), 'admissionregistration.k8s.io/v1');
  });
});
