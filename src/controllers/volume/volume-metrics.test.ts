import assert from 'node:assert/strict';
import { it } from 'node:test';
import { volumeLines } from './volume-metrics.ts';

it('volumes by plugin and mode, volumes and claims by class', () => {
  const volumes = [
    { spec: { local: { path: '/a' }, storageClassName: 'fast' }, status: { phase: 'Bound' } },
    { spec: { local: { path: '/b' }, storageClassName: 'fast' }, status: { phase: 'Available' } },
    { spec: { csi: { driver: 'd', volumeHandle: 'h' }, volumeMode: 'Block' }, status: { phase: 'Bound' } },
    { spec: { portworxVolume: { volumeID: 'x' } }, status: { phase: 'Released' } },
  ];
  const claims = [
    { metadata: { namespace: 'a' }, spec: { storageClassName: 'fast' }, status: { phase: 'Bound' } },
    { metadata: { namespace: 'a' }, spec: { storageClassName: 'fast' }, status: { phase: 'Bound' } },
    { metadata: { namespace: 'b' }, spec: {}, status: { phase: 'Pending' } },
  ];
  assert.deepEqual(
    volumeLines({ volumes, claims }).filter((line) => !line.startsWith('#')),
    [
      'pv_collector_total_pv_count{plugin_name="kubernetes.io/local-volume",volume_mode="Filesystem"} 2',
      'pv_collector_total_pv_count{plugin_name="kubernetes.io/csi:d",volume_mode="Block"} 1',
      'pv_collector_total_pv_count{plugin_name="N/A",volume_mode="Filesystem"} 1',
      'pv_collector_bound_pv_count{storage_class="fast"} 1',
      'pv_collector_bound_pv_count{storage_class=""} 1',
      'pv_collector_unbound_pv_count{storage_class="fast"} 1',
      'pv_collector_unbound_pv_count{storage_class=""} 1',
      'pv_collector_bound_pvc_count{namespace="a",storage_class="fast",volume_attributes_class=""} 2',
      'pv_collector_unbound_pvc_count{namespace="b",storage_class="",volume_attributes_class=""} 1',
    ],
  );
});
