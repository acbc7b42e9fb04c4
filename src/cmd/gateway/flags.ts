/** The flags of `capstan gateway`, one entry a flag; they are our own. */
import { COMPONENT_FLAGS } from '../flags/common.ts';
import { ACCESS_FLAGS, OWN_VERSION_FLAGS } from '../flags/endpoints.ts';
import { flagKinds, type GivenFlags } from '../flags/define.ts';

const flag = flagKinds();

export const GATEWAY_FLAGS = {
  ...COMPONENT_FLAGS,
  address: flag.text({
    placeholder: '<ip>',
    help: 'address of this machine at which others reach the gateway',
    own: true,
  }),
  listen: flag.list({
    placeholder: '<ip>',
    help: 'address to listen on; may be given several times',
    default: ['0.0.0.0', '::'] as readonly string[],
    own: true,
  }),
  'node-name': flag.text({
    placeholder: '<name>',
    help: 'name of the node that this machine is',
    defaultText: 'the host name',
    own: true,
  }),
  'state-dir': flag.text({
    placeholder: '<dir>',
    help: "directory of HAProxy's configuration and certificates",
    default: '/run/capstan/gateway',
    own: true,
  }),
  'metrics-bind-address': flag.text({
    placeholder: '<address>',
    help: 'address and port of metrics, over TLS; empty or port 0 for none',
    default: '127.0.0.1:10263',
    own: true,
  }),
  ...ACCESS_FLAGS,
  ...OWN_VERSION_FLAGS,
};

export type GatewayFlags = GivenFlags<typeof GATEWAY_FLAGS>;
