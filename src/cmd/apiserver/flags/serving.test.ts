import assert from 'node:assert/strict';
import { test } from 'node:test';
import { featureMetrics } from './feature-gates.ts';
import { builtinResources, enabledByDefault } from '#api/resources.ts';
import { DEFAULT_EFFECTIVE_VERSION } from '#machinery/effective-version.ts';
import { RESOURCES } from '#resources/registry.ts';
import { servingFrom, type IsEnabled } from './serving.ts';

const enabled = (runtimeConfig: string): IsEnabled => servingFrom({ runtimeConfig }).isEnabled!;
const ask = (isEnabled: IsEnabled, name: string): boolean => {
  const [group = '', version = '', resource = ''] = name.split('/');
  return isEnabled({ group, version, resource });
};

test('without flags the stable versions are served, stored as usual', () => {
  const { isEnabled, effectiveVersion, registry } = servingFrom({});
  assert.deepEqual(effectiveVersion, DEFAULT_EFFECTIVE_VERSION);
  assert.equal(registry, undefined);
  for (const { group, version } of builtinResources)
    assert.equal(
      isEnabled({ group, version, resource: '' }),
      enabledByDefault(version),
      `${group}/${version}`,
    );
});

test('an emulated version has its own API versions, gates and storage versions', () => {
  const at = (minor: number): ReturnType<typeof servingFrom> =>
    servingFrom({ emulatedVersion: [`1.${minor}`], runtimeConfig: 'api/all=true' });
  const policy = 'admissionregistration.k8s.io/v1/mutatingadmissionpolicies';
  const gates = (minor: number): boolean[] => {
    const { features } = at(minor);
    return [
      features.MutatingAdmissionPolicy,
      features.ConstrainedImpersonation,
      features.UnknownVersionInteroperabilityProxy,
    ];
  };
  assert.deepEqual([ask(at(36).isEnabled, policy), ask(at(35).isEnabled, policy)], [true, false]);
  assert.equal(ask(at(35).isEnabled, 'scheduling.k8s.io/v1alpha2/'), false);
  assert.equal(ask(at(35).isEnabled, 'admissionregistration.k8s.io/v1beta1/mutatingadmissionpolicies'), true);
  assert.deepEqual(
    [gates(36), gates(35)],
    [
      [true, true, true],
      [false, false, false],
    ],
  );
  const stored = at(34)
    .registry?.find(({ plural }) => plural === 'mutatingadmissionpolicies')
    ?.served('v1beta1')?.storageVersionHash;
  assert.notEqual(stored, undefined);
  assert.notEqual(
    stored,
    RESOURCES.find(({ plural }) => plural === 'mutatingadmissionpolicies')?.served('v1beta1')
      ?.storageVersionHash,
  );
});

test('a gate that the emulated version does not have cannot be set', () => {
  const flags = { emulatedVersion: ['1.34'], featureGates: 'ConstrainedImpersonation=true' };
  assert.throws(() => servingFrom(flags), {
    message:
      '--feature-gates: cannot set feature gate ConstrainedImpersonation to true, feature is PreAlpha at emulated version 1.34.',
  });
  assert.throws(() => servingFrom({ emulatedVersion: ['1.99'] }), /emulation version 1\.99 is not between/);
  const { features, effectiveVersion } = servingFrom({ emulatedVersion: ['1.34'] });
  assert.doesNotMatch(featureMetrics(features, effectiveVersion!.emulated), /ConstrainedImpersonation/);
});

test('events are kept as long as --event-ttl says', () => {
  const kept = (eventTtl: string): (number | undefined)[] =>
    servingFrom({ eventTtl })
      .registry!.filter(({ plural }) => plural === 'events' || plural === 'pods')
      .map(({ behaviour }) => behaviour.ttlSeconds);
  assert.deepEqual(kept('90m'), [5400, undefined, 5400]);
  assert.deepEqual(kept('0'), [undefined, undefined, undefined]);
  assert.throws(() => servingFrom({ eventTtl: 'soon' }), /--event-ttl is "soon"; it should be a duration/);
  assert.throws(() => servingFrom({ eventTtl: '-1h' }), /should not be negative/);
});

test('the most exact setting wins', () => {
  const isEnabled = enabled(
    'api/beta=true,storage.k8s.io/v1beta1=false,storage.k8s.io/v1beta1/volumeattributesclasses=true,apps/v1/daemonsets=false',
  );
  const answers: [string, boolean][] = [
    ['networking.k8s.io/v1beta1/ipaddresses', true],
    ['resource.k8s.io/v1beta1/resourceclaims', true],
    ['resource.k8s.io/v1alpha3/devicetaintrules', false],
    ['storage.k8s.io/v1beta1/volumeattributesclasses', true],
    ['storage.k8s.io/v1beta1/', true],
    ['storage.k8s.io/v1/storageclasses', true],
    ['apps/v1/daemonsets', false],
    ['apps/v1/deployments', true],
    ['apps/v1/', true],
    ['/v1/pods', true],
  ];
  for (const [name, expected] of answers) assert.equal(ask(isEnabled, name), expected, name);
});

test('everything, stabilities, single versions', () => {
  assert.equal(ask(enabled('api/all=true'), 'resource.k8s.io/v1alpha3/devicetaintrules'), true);
  assert.equal(ask(enabled('api/all'), 'internal.apiserver.k8s.io/v1alpha1/storageversions'), true);
  assert.equal(ask(enabled('api/alpha=true'), 'networking.k8s.io/v1beta1/ipaddresses'), false);
  const little = enabled('api/all=false,v1=true');
  assert.deepEqual([ask(little, '/v1/pods'), ask(little, 'apps/v1/deployments')], [true, false]);
});

test('what a gate is before is served only with it', () => {
  const cases: readonly (readonly [gates: string, expected: boolean])[] = [
    ['', false],
    ['StorageVersionMigrator=false', false],
    ['AllBeta=true', true],
    ['StorageVersionMigrator=true', true],
  ];
  for (const [featureGates, expected] of cases) {
    for (const runtimeConfig of ['api/all=true', 'storagemigration.k8s.io/v1beta1=true']) {
      const isEnabled = servingFrom({ runtimeConfig, featureGates }).isEnabled!;
      for (const resource of ['', 'storageversionmigrations'])
        assert.equal(
          isEnabled({ group: 'storagemigration.k8s.io', version: 'v1beta1', resource }),
          expected,
          featureGates,
        );
    }
  }
});

test('what is unknown is refused by name', () => {
  for (const [text, complaint] of [
    ['apps/v9=true', /group "apps" has v1/],
    ['nope.example.com/v1=true', /no API group "nope\.example\.com"/],
    ['apps/v1/none=true', /apps\/v1 has no resource "none"/],
    ['api/all=maybe', /should be NAME=true or NAME=false/],
    ['api/all=false', /needs something that is served/],
  ] as const)
    assert.throws(() => enabled(text), complaint, text);
  assert.throws(
    () => servingFrom({ featureGates: 'SomethingElse=true' }),
    /SomethingElse, which is no feature gate of this server; there are: .*CBORServingAndStorage/,
  );
  assert.throws(() => servingFrom({ featureGates: 'CBORServingAndStorage' }), /should be NAME=true/);
  assert.throws(
    () => servingFrom({ featureGates: 'WatchList=false' }),
    /sets WatchList to false; here it is always true/,
  );
  assert.throws(
    () => servingFrom({ featureGates: 'GangScheduling=true' }),
    /GangScheduling is enabled, but depends on features that are disabled: \[GenericWorkload\]/,
  );
  const gates = (featureGates: string): unknown[] => {
    const { cbor, constrainedImpersonation } = servingFrom({ featureGates });
    return [cbor, constrainedImpersonation];
  };
  assert.deepEqual(gates('CBORServingAndStorage=true,WatchList=true'), [true, true]);
  assert.deepEqual(gates('ConstrainedImpersonation=false'), [false, false]);
  assert.deepEqual(gates('AllAlpha=true,AllBeta=false'), [true, false]);
  assert.deepEqual(gates('AllBeta=false,ConstrainedImpersonation=true'), [false, true]);
  assert.match(
    featureMetrics(servingFrom({ featureGates: 'AllAlpha=true' }).features!),
    /^kubernetes_feature_enabled\{name="CBORServingAndStorage",stage="ALPHA"\} 1$/m,
  );
});
