/** Whether the API server's port is free, before a program is started that would find out late. */
import { createServer } from 'node:net';
import { hostname } from 'node:os';
import { UserError } from '#deploy/data-dir.ts';
import { describePortHolder } from '#deploy/port-holder.ts';

interface Endpoint {
  readonly bindAddress: string;
  readonly httpsPort: number;
}

export async function requireFreePort(settings: Endpoint): Promise<void> {
  const where = `${settings.bindAddress}:${settings.httpsPort}`;
  await new Promise<void>((done, reject) => {
    const probe = createServer();
    probe.once('error', (error: NodeJS.ErrnoException) => reject(portError(error, { where, settings })));
    probe.listen({ port: settings.httpsPort, host: settings.bindAddress, exclusive: true }, () =>
      probe.close(() => done()),
    );
  });
}

function portError(
  error: NodeJS.ErrnoException,
  { where, settings }: { readonly where: string; readonly settings: Endpoint },
): UserError {
  if (error.code === 'EADDRINUSE')
    return new UserError(
      `Port ${where} is already taken by ${describePortHolder(settings.httpsPort)}: choose another with --https-port.`,
      error,
    );
  if (error.code === 'EADDRNOTAVAIL')
    return new UserError(
      `${settings.bindAddress} is not an address of this machine (${hostname()}): choose one with --bind-address.`,
      error,
    );
  if (error.code === 'EACCES')
    return new UserError(`Port ${where} needs root: choose a port above 1023 with --https-port.`, error);
  return new UserError(`Cannot listen on ${where}: ${error.message}`, error);
}
