/** The flags of `capstan balancer`. */
import { LOGGING_FLAGS } from '../flags/common.ts';
import { flagKinds, type GivenFlags } from '../flags/define.ts';

const flag = flagKinds();

export const BALANCER_FLAGS = {
  kubeconfig: flag.file({
    help: 'kubeconfig that leads to this balancer; its authorities are trusted, and with its credentials the list of API servers is watched. It may come later',
    defaultText: '$KUBECONFIG',
  }),
  context: flag.text({
    placeholder: '<name>',
    help: 'context of the kubeconfig to use',
    defaultText: 'its current one',
  }),
  server: flag.list({
    placeholder: '<host:port>',
    help: 'an API server to begin with, by address or name; given once or several times, never forgotten',
  }),
  listen: flag.list({
    placeholder: '<address:port>',
    help: 'where clients of this machine connect',
    default: ['127.0.0.1:7445', '[::1]:7445'],
  }),
  'list-file': flag.file({
    help: 'file that keeps the last list of API servers',
    defaultText: 'none is kept',
  }),
  'certificate-authority': flag.file({
    help: 'authorities to trust while there is no kubeconfig',
  }),
  'healthz-bind-address': flag.text({
    placeholder: '<address:port>',
    help: 'where /healthz, /readyz and /metrics are served over HTTP; empty for nowhere',
    default: '127.0.0.1:7446',
  }),
  'max-connections': flag.number({
    min: 1,
    max: 65_536,
    help: 'connections at a time; further ones are closed',
    default: 4096,
  }),
  ...LOGGING_FLAGS,
};

export type BalancerFlags = GivenFlags<typeof BALANCER_FLAGS>;
