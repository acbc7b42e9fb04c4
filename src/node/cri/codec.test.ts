import assert from 'node:assert/strict';
import { test } from 'node:test';
import { methodCodec, methodCodecs } from './codec.ts';
import { camelCase } from './field-names.ts';

test('names follow one rule', () => {
  assert.equal(camelCase('pod_sandbox_id'), 'podSandboxId');
  assert.equal(camelCase('uidMappings'), 'uidMappings');
  assert.equal(camelCase('CDI_devices'), 'cdiDevices');
  assert.equal(camelCase('Avg10'), 'avg10');
  assert.equal(camelCase('swap_limit_in_bytes'), 'swapLimitInBytes');
});

test('a request keeps wrapped zeros, enums by name and bytes', () => {
  const codec = methodCodec('CreateContainer');
  const securityContext = {
    runAsUser: { value: 0 },
    seccomp: { profileType: 'Localhost', localhostRef: 'p' },
  };
  const envs = [{ key: 'A', value: Buffer.from('b') }];
  const decoded = codec.decodeRequest(
    codec.encode({
      config: { envs, stopSignal: 'SIGTERM', cdiDevices: [{ name: 'x' }], linux: { securityContext } },
    }),
  ) as {
    config: {
      envs: typeof envs;
      stopSignal: string;
      cdiDevices: object[];
      linux: { securityContext: typeof securityContext };
    };
  };
  assert.deepEqual(decoded.config.envs, envs);
  assert.equal(decoded.config.stopSignal, 'SIGTERM');
  assert.deepEqual(decoded.config.cdiDevices, [{ name: 'x' }]);
  assert.deepEqual(decoded.config.linux.securityContext.runAsUser, { value: 0 });
  assert.deepEqual(decoded.config.linux.securityContext.seccomp, {
    profileType: 'Localhost',
    localhostRef: 'p',
  });
});

test('an answer has every scalar, list and map, and no message that was not sent', () => {
  const codec = methodCodec('ContainerStatus');
  const { status, info } = codec.decode(codec.encodeResponse({ status: { id: 'a' } })) as {
    status: Record<string, unknown>;
    info: object;
  };
  assert.deepEqual(info, {});
  assert.equal(status['exitCode'], 0);
  assert.equal(status['state'], 'CONTAINER_CREATED');
  assert.deepEqual(status['mounts'], []);
  assert.equal('image' in status, false);
});

test('both services are there', () => {
  const names = new Map(methodCodecs().map((codec) => [codec.name, codec]));
  assert.equal(names.get('PullImage')?.path, '/runtime.v1.ImageService/PullImage');
  assert.equal(names.get('RunPodSandbox')?.path, '/runtime.v1.RuntimeService/RunPodSandbox');
  assert.equal(names.get('GetContainerEvents')?.serverStream, true);
});
