/** The flags of `capstan node-provider`, one entry a flag; they are our own. */
import { COMPONENT_FLAGS } from '../flags/common.ts';
import { flagKinds, type GivenFlags } from '../flags/define.ts';
import { PROVIDER_FLAGS } from './flags.ts';

const flag = flagKinds();

export const SERVING_FLAGS = {
  listen: flag.text({
    placeholder: '<address>',
    help: 'address and port to serve on',
    default: '127.0.0.1:8086',
    own: true,
  }),
  'tls-cert-file': flag.file({ help: 'certificate of the server', own: true }),
  'tls-private-key-file': flag.file({ help: 'its private key', own: true }),
  'client-ca-file': flag.file({
    help: 'authority of the certificates of those that are let in',
    own: true,
  }),
};

export const NODE_PROVIDER_FLAGS = {
  ...COMPONENT_FLAGS,
  'cloud-provider': PROVIDER_FLAGS['cloud-provider'],
  'cloud-config': PROVIDER_FLAGS['cloud-config'],
  ...SERVING_FLAGS,
};

export type NodeProviderFlags = GivenFlags<typeof NODE_PROVIDER_FLAGS>;
