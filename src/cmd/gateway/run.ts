/** `capstan gateway`: the proxy of Ingresses on this machine, as a program of its own. */
import { isIP } from 'node:net';
import { hostname } from 'node:os';
import { createGateway } from '#addons/gateway/gateway.ts';
import { findHaproxy } from '#addons/gateway/haproxy/haproxy.ts';
import { UserError } from '#deploy/data-dir.ts';
import { readFlags } from '../flags/define.ts';
import { optionalAddress } from '../flags/endpoints.ts';
import { runComponent } from '../run-component.ts';
import { GATEWAY_FLAGS, type GatewayFlags } from './flags.ts';

export async function runGateway(flags: GatewayFlags): Promise<void> {
  const values = readFlags(GATEWAY_FLAGS, flags);
  const { address, listen, nodeName = hostname(), stateDir } = values;
  if (findHaproxy() === undefined)
    throw new UserError('The program haproxy is missing: apt-get install --no-install-recommends haproxy');
  if (address === undefined || isIP(address) === 0)
    throw new UserError(
      `--address is ${address === undefined ? 'missing' : `"${address}"`}; it should be the IP address at which others reach this machine.`,
    );
  for (const one of listen)
    if (isIP(one) === 0) throw new UserError(`--listen is "${one}"; it should be an IP address.`);
  await runComponent({
    name: 'gateway',
    flags,
    endpoints: {
      table: GATEWAY_FLAGS,
      access: flags,
      listen: optionalAddress('--metrics-bind-address', {
        text: values.metricsBindAddress,
        defaultPort: 10_263,
      }),
    },
    create: (context) =>
      createGateway({
        ...context,
        nodeName: nodeName.toLowerCase(),
        address,
        listenOn: listen,
        dir: stateDir,
        leased: true,
      }),
  });
}
