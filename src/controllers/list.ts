/** Every controller, in the order of their groups. To add a controller, add one line here. */
import type { ControllerDefinition } from '#runtime/controller.ts';
import { addonController } from './addons/addon-controller.ts';
import { daemonSetController } from './apps/daemonset-controller.ts';
import { deploymentController } from './apps/deployment-controller.ts';
import { replicaSetController } from './apps/replicaset-controller.ts';
import { statefulSetController } from './apps/statefulset-controller.ts';
import {
  horizontalPodAutoscalerController,
  type HorizontalPodAutoscalerOptions,
} from './autoscaling/horizontal-pod-autoscaler-controller.ts';
import { cronJobController } from './batch/cronjob-controller.ts';
import { jobController } from './batch/job-controller.ts';
import { ttlAfterFinishedController } from './batch/ttl-after-finished-controller.ts';
import { bootstrapSignerController } from './bootstrap/bootstrap-signer-controller.ts';
import { tokenCleanerController } from './bootstrap/token-cleaner-controller.ts';
import { certificateSigningRequestApprovingController } from './certificates/certificatesigningrequest-approving-controller.ts';
import { certificateSigningRequestCleanerController } from './certificates/certificatesigningrequest-cleaner-controller.ts';
import {
  certificateSigningRequestSigningController,
  type SigningOptions,
} from './certificates/certificatesigningrequest-signing-controller.ts';
import { expiredNodeApprovingController } from './certificates/expired-node-approving-controller.ts';
import { kubeletServingApprovingController } from './certificates/kubelet-serving-approving-controller.ts';
import { garbageCollectorController } from './core/garbage-collector-controller.ts';
import { namespaceController } from './core/namespace-controller.ts';
import { nodeIPAMController } from './core/node-ipam-controller.ts';
import { nodeLifecycleController } from './core/node-lifecycle-controller.ts';
import { podGarbageCollectorController } from './core/pod-garbage-collector-controller.ts';
import { replicationControllerController } from './core/replicationcontroller-controller.ts';
import { resourceQuotaController } from './core/resourcequota-controller.ts';
import {
  rootCACertificatePublisherController,
  type RootCA,
} from './core/root-ca-certificate-publisher-controller.ts';
import { serviceAccountController } from './core/serviceaccount-controller.ts';
import { taintEvictionController } from './core/taint-eviction-controller.ts';
import { ttlController } from './core/ttl-controller.ts';
import { endpointsController } from './discovery/endpoints-controller.ts';
import { endpointSliceController } from './discovery/endpointslice-controller.ts';
import { endpointSliceMirroringController } from './discovery/endpointslicemirroring-controller.ts';
import { leasedEndpointSliceController } from './discovery/leased-endpointslice-controller.ts';
import { disruptionController } from './policy/disruption-controller.ts';
import { deviceTaintEvictionController } from './resource/device-taint-eviction-controller.ts';
import { resourceClaimController, type ResourceClaimOptions } from './resource/resourceclaim-controller.ts';
import {
  legacyServiceAccountTokenCleanerController,
  type LegacyTokenCleanerOptions,
} from './serviceaccount/legacy-serviceaccount-token-cleaner-controller.ts';
import { serviceAccountTokenController } from './serviceaccount/serviceaccount-token-controller.ts';
import { podGroupProtectionController } from './scheduling/podgroup-protection-controller.ts';
import { storageVersionMigratorController } from './storagemigration/storage-version-migrator-controller.ts';
import { ephemeralVolumeController } from './volume/ephemeral-volume-controller.ts';
import { persistentVolumeAttachDetachController } from './volume/persistentvolume-attach-detach-controller.ts';
import { persistentVolumeBinderController } from './volume/persistentvolume-binder-controller.ts';
import { persistentVolumeExpanderController } from './volume/persistentvolume-expander-controller.ts';
import { persistentVolumeProtectionController } from './volume/persistentvolume-protection-controller.ts';
import { persistentVolumeClaimProtectionController } from './volume/persistentvolumeclaim-protection-controller.ts';
import { volumeAttributesClassProtectionController } from './volume/volumeattributesclass-protection-controller.ts';

interface ControllersOptions
  extends SigningOptions, LegacyTokenCleanerOptions, HorizontalPodAutoscalerOptions, ResourceClaimOptions {
  /** The CIDR that pod CIDRs of nodes are taken from: '10.244.0.0/16', or one per address family, separated by a comma. */
  readonly clusterCIDR: string;
  /** Prefix length of a node's pod CIDR. Default 24 (IPv4) and 64 (IPv6). */
  readonly nodeCIDRMaskSize?: number;
  /** Of a family that there is a CIDR of; not beside nodeCIDRMaskSize. */
  readonly nodeCIDRMaskSizeIPv4?: number;
  readonly nodeCIDRMaskSizeIPv6?: number;
  /** The CA bundle with which pods verify the API server, PEM. */
  readonly rootCA: RootCA;
  /** The key that signs tokens in secrets, PEM. Without it, no token secrets are filled. */
  readonly serviceAccountKey?: string | undefined;
}

export function controllers(options: ControllersOptions): ControllerDefinition[] {
  return [
    addonController,
    daemonSetController,
    deploymentController,
    replicaSetController,
    statefulSetController,
    horizontalPodAutoscalerController(options),
    cronJobController,
    jobController,
    ttlAfterFinishedController,
    bootstrapSignerController,
    tokenCleanerController,
    certificateSigningRequestApprovingController,
    expiredNodeApprovingController,
    kubeletServingApprovingController,
    certificateSigningRequestCleanerController,
    certificateSigningRequestSigningController(options),
    garbageCollectorController,
    namespaceController,
    nodeIPAMController(options),
    nodeLifecycleController,
    podGarbageCollectorController,
    replicationControllerController,
    resourceQuotaController,
    rootCACertificatePublisherController(options),
    serviceAccountController,
    ...(options.serviceAccountKey === undefined
      ? []
      : [
          serviceAccountTokenController({
            serviceAccountKey: options.serviceAccountKey,
            rootCA: options.rootCA,
          }),
        ]),
    legacyServiceAccountTokenCleanerController(options),
    taintEvictionController,
    ttlController,
    endpointsController,
    endpointSliceController,
    endpointSliceMirroringController,
    leasedEndpointSliceController,
    disruptionController,
    deviceTaintEvictionController,
    resourceClaimController(options),
    podGroupProtectionController,
    storageVersionMigratorController,
    persistentVolumeAttachDetachController,
    persistentVolumeBinderController,
    persistentVolumeExpanderController,
    ephemeralVolumeController,
    persistentVolumeClaimProtectionController,
    persistentVolumeProtectionController,
    volumeAttributesClassProtectionController,
  ];
}
