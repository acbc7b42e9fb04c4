/**
 * The registry: every built-in resource, in discovery order, merged with the generated discovery data. Add new
 * resources here. Custom resources are added by the API server from CustomResourceDefinitions.
 */
import { buildResource, type Resource } from './resource.ts';
import type { ResourceBehaviour } from './define.ts';
import { bindings } from './core/bindings.ts';
import { componentstatuses } from './core/componentstatuses.ts';
import { configmaps } from './core/configmaps.ts';
import { endpoints } from './core/endpoints.ts';
import { events } from './core/events.ts';
import { limitranges } from './core/limitranges.ts';
import { namespaces } from './core/namespaces.ts';
import { nodes } from './core/nodes.ts';
import { persistentvolumeclaims } from './core/persistentvolumeclaims.ts';
import { persistentvolumes } from './core/persistentvolumes.ts';
import { pods } from './core/pods.ts';
import { podtemplates } from './core/podtemplates.ts';
import { replicationcontrollers } from './core/replicationcontrollers.ts';
import { resourcequotas } from './core/resourcequotas.ts';
import { secrets } from './core/secrets.ts';
import { serviceaccounts } from './core/serviceaccounts.ts';
import { services } from './core/services.ts';
import { mutatingadmissionpolicies } from './admissionregistration/mutatingadmissionpolicies.ts';
import { mutatingadmissionpolicybindings } from './admissionregistration/mutatingadmissionpolicybindings.ts';
import { mutatingwebhookconfigurations } from './admissionregistration/mutatingwebhookconfigurations.ts';
import { validatingadmissionpolicies } from './admissionregistration/validatingadmissionpolicies.ts';
import { validatingadmissionpolicybindings } from './admissionregistration/validatingadmissionpolicybindings.ts';
import { validatingwebhookconfigurations } from './admissionregistration/validatingwebhookconfigurations.ts';
import { customresourcedefinitions } from './apiextensions/customresourcedefinitions.ts';
import { apiservices } from './apiregistration/apiservices.ts';
import { controllerrevisions } from './apps/controllerrevisions.ts';
import { daemonsets } from './apps/daemonsets.ts';
import { deployments } from './apps/deployments.ts';
import { replicasets } from './apps/replicasets.ts';
import { statefulsets } from './apps/statefulsets.ts';
import { selfsubjectreviews } from './authentication/selfsubjectreviews.ts';
import { tokenreviews } from './authentication/tokenreviews.ts';
import { localsubjectaccessreviews } from './authorization/localsubjectaccessreviews.ts';
import { selfsubjectaccessreviews } from './authorization/selfsubjectaccessreviews.ts';
import { selfsubjectrulesreviews } from './authorization/selfsubjectrulesreviews.ts';
import { subjectaccessreviews } from './authorization/subjectaccessreviews.ts';
import { horizontalpodautoscalers } from './autoscaling/horizontalpodautoscalers.ts';
import { cronjobs } from './batch/cronjobs.ts';
import { jobs } from './batch/jobs.ts';
import { certificatesigningrequests } from './certificates/certificatesigningrequests.ts';
import { clustertrustbundles } from './certificates/clustertrustbundles.ts';
import { podcertificaterequests } from './certificates/podcertificaterequests.ts';
import { leases } from './coordination/leases.ts';
import { leasecandidates } from './coordination/leasecandidates.ts';
import { endpointslices } from './discovery/endpointslices.ts';
import { events as eventsEvents } from './events/events.ts';
import { flowschemas } from './flowcontrol/flowschemas.ts';
import { prioritylevelconfigurations } from './flowcontrol/prioritylevelconfigurations.ts';
import { storageversions } from './internal/storageversions.ts';
import { ingressclasses } from './networking/ingressclasses.ts';
import { ingresses } from './networking/ingresses.ts';
import { ipaddresses } from './networking/ipaddresses.ts';
import { networkpolicies } from './networking/networkpolicies.ts';
import { servicecidrs } from './networking/servicecidrs.ts';
import { runtimeclasses } from './node/runtimeclasses.ts';
import { poddisruptionbudgets } from './policy/poddisruptionbudgets.ts';
import { clusterrolebindings } from './rbac/clusterrolebindings.ts';
import { clusterroles } from './rbac/clusterroles.ts';
import { rolebindings } from './rbac/rolebindings.ts';
import { roles } from './rbac/roles.ts';
import { deviceclasses } from './resource/deviceclasses.ts';
import { resourceclaims } from './resource/resourceclaims.ts';
import { resourceclaimtemplates } from './resource/resourceclaimtemplates.ts';
import { resourceslices } from './resource/resourceslices.ts';
import { devicetaintrules } from './resource/devicetaintrules.ts';
import { resourcepoolstatusrequests } from './resource/resourcepoolstatusrequests.ts';
import { priorityclasses } from './scheduling/priorityclasses.ts';
import { podgroups } from './scheduling/podgroups.ts';
import { workloads } from './scheduling/workloads.ts';
import { csidrivers } from './storage/csidrivers.ts';
import { csinodes } from './storage/csinodes.ts';
import { csistoragecapacities } from './storage/csistoragecapacities.ts';
import { storageclasses } from './storage/storageclasses.ts';
import { volumeattachments } from './storage/volumeattachments.ts';
import { volumeattributesclasses } from './storage/volumeattributesclasses.ts';
import { storageversionmigrations } from './storagemigration/storageversionmigrations.ts';

/** Every record, in order. */
const RECORDS: readonly ResourceBehaviour[] = [
  bindings,
  componentstatuses,
  configmaps,
  endpoints,
  events,
  limitranges,
  namespaces,
  nodes,
  persistentvolumeclaims,
  persistentvolumes,
  pods,
  podtemplates,
  replicationcontrollers,
  resourcequotas,
  secrets,
  serviceaccounts,
  services,
  mutatingadmissionpolicies,
  mutatingadmissionpolicybindings,
  mutatingwebhookconfigurations,
  validatingadmissionpolicies,
  validatingadmissionpolicybindings,
  validatingwebhookconfigurations,
  customresourcedefinitions,
  apiservices,
  controllerrevisions,
  daemonsets,
  deployments,
  replicasets,
  statefulsets,
  selfsubjectreviews,
  tokenreviews,
  localsubjectaccessreviews,
  selfsubjectaccessreviews,
  selfsubjectrulesreviews,
  subjectaccessreviews,
  horizontalpodautoscalers,
  cronjobs,
  jobs,
  certificatesigningrequests,
  clustertrustbundles,
  podcertificaterequests,
  leases,
  leasecandidates,
  endpointslices,
  eventsEvents,
  flowschemas,
  prioritylevelconfigurations,
  storageversions,
  ingressclasses,
  ingresses,
  ipaddresses,
  networkpolicies,
  servicecidrs,
  runtimeclasses,
  poddisruptionbudgets,
  clusterrolebindings,
  clusterroles,
  rolebindings,
  roles,
  deviceclasses,
  resourceclaims,
  resourceclaimtemplates,
  resourceslices,
  devicetaintrules,
  resourcepoolstatusrequests,
  priorityclasses,
  podgroups,
  workloads,
  csidrivers,
  csinodes,
  csistoragecapacities,
  storageclasses,
  volumeattachments,
  volumeattributesclasses,
  storageversionmigrations,
];

/** Every built-in resource with its discovery data and record. */
export const RESOURCES: readonly Resource[] = RECORDS.map(buildResource);

const byPath = new Map<string, Resource>();
const byKind = new Map<string, Resource>();
for (const resource of RESOURCES) {
  for (const served of resource.versions) {
    byPath.set(`${resource.group}/${served.version}/${resource.plural}`, resource);
    byKind.set(`${resource.group}/${served.version}/${served.kind}`, resource);
  }
}

/** The resource of a URL: group '' for /api/v1. Undefined when this version does not serve it. */
export function resourceByPath(group: string, version: string, plural: string): Resource | undefined {
  return byPath.get(`${group}/${version}/${plural}`);
}

export function resourceByKind(group: string, version: string, kind: string): Resource | undefined {
  return byKind.get(`${group}/${version}/${kind}`);
}

/** The resource of a group in any version. */
export function resourceByGroup(group: string, plural: string): Resource | undefined {
  return RESOURCES.find((resource) => resource.group === group && resource.plural === plural);
}
