/**
 * How DNS servers of nodes and the controller that chooses them meet: the controller labels a Node, the server of that Node begins to answer and says where by an annotation, and the
 * controller puts it behind Service kube-system/kube-dns. So a node never writes endpoints of the cluster's DNS.
 */

/** On Nodes that are to serve DNS. */
export const DNS_SERVER_LABEL = 'dns.capstan.dev/server';
/** On Nodes that can: DNS_STANDBY, or the HOST:PORT that it answers at; DNS_FAILED on one that tried and cannot. */
export const DNS_SERVER_ANNOTATION = 'dns.capstan.dev/serving';
export const DNS_STANDBY = 'standby';
export const DNS_FAILED = 'failed';

export const DNS_NAMESPACE = 'kube-system';
export const DNS_SERVICE = 'kube-dns';
/** Slices that servers write themselves: those of control planes. */
export const MANAGED_BY_LABEL = 'endpointslice.kubernetes.io/managed-by';
export const MANAGED_BY_SERVER = 'cluster-dns.capstan.dev';
