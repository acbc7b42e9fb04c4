/** The definition of ClusterNetworkPolicy (policy.networking.k8s.io/v1alpha2), with the fields of its standard channel: what nodes enforce. */
import type { JSONSchemaProps } from '#api/types.ts';
import {
  CONDITIONS,
  customResource,
  integer,
  LABEL_SELECTOR,
  listOf,
  record,
  text,
} from '../definitions/custom-resource.ts';

const MAXIMUM = { minItems: 1, maxItems: 25 };
const ONE = { minProperties: 1, maxProperties: 1 };
const oneOf = (...values: readonly string[]): JSONSchemaProps =>
  text({ enum: values as unknown as JSONSchemaProps['enum'] & object });

const port = integer({ minimum: 1, maximum: 65_535 });
const transport = record(
  {
    destinationPort: record(
      { number: port, range: record({ start: port, end: port }, { required: ['start', 'end'] }) },
      ONE,
    ),
  },
  { minProperties: 1 },
);
const protocols = listOf(
  record({ tcp: transport, udp: transport, sctp: transport, destinationNamedPort: text() }, ONE),
  MAXIMUM,
);
const pods = {
  namespaces: LABEL_SELECTOR,
  pods: record(
    { namespaceSelector: LABEL_SELECTOR, podSelector: LABEL_SELECTOR },
    { required: ['namespaceSelector', 'podSelector'] },
  ),
};

function rules(peers: 'from' | 'to', peer: JSONSchemaProps): JSONSchemaProps {
  return listOf(
    record(
      {
        name: text({ maxLength: 100 }),
        action: oneOf('Accept', 'Deny', 'Pass'),
        [peers]: listOf(peer, MAXIMUM),
        protocols,
      },
      { required: ['action', peers] },
    ),
    { maxItems: 25 },
  );
}

export const CLUSTER_NETWORK_POLICY = customResource({
  ref: {
    group: 'policy.networking.k8s.io',
    version: 'v1alpha2',
    plural: 'clusternetworkpolicies',
    kind: 'ClusterNetworkPolicy',
    namespaced: false,
  },
  singular: 'clusternetworkpolicy',
  shortNames: ['cnp'],
  // The API server asks for it of definitions in groups of k8s.io.
  annotations: {
    'api-approved.kubernetes.io': 'https://github.com/kubernetes-sigs/network-policy-api/pull/300',
  },
  columns: ['Tier:.spec.tier', 'Priority:integer:.spec.priority'],
  spec: record(
    {
      tier: oneOf('Admin', 'Baseline'),
      priority: integer({ minimum: 0, maximum: 1000 }),
      subject: record(pods, ONE),
      ingress: rules('from', record(pods, ONE)),
      egress: rules(
        'to',
        record(
          {
            ...pods,
            networks: listOf(text({ maxLength: 43 }), { ...MAXIMUM, 'x-kubernetes-list-type': 'set' }),
          },
          ONE,
        ),
      ),
    },
    { required: ['tier', 'priority', 'subject'] },
  ),
  status: record({ conditions: CONDITIONS }, { required: ['conditions'] }),
});
