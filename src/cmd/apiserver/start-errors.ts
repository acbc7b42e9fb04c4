/** Explains a failed start of the API server in one sentence for the user. */
import { StoreError } from '#storage/store.ts';
import { describeDiskError, UserError, type DataDir } from '#deploy/data-dir.ts';
import { describePortHolder } from '#deploy/port-holder.ts';
import { PkiError } from '#deploy/pki/pki.ts';
import { errorMessage } from '#stdx/log.ts';
import { LockedError } from '#stdx/process-lock.ts';
import type { ApiServerFlags } from './flags.ts';

export function explained(
  error: unknown,
  { flags, dir }: { readonly flags: ApiServerFlags; readonly dir: DataDir | undefined },
): unknown {
  if (error instanceof UserError) return error;
  if (error instanceof LockedError)
    return new UserError(
      `The cluster in ${dir?.path} is already run by process ${error.holder.pid}; stop it with: capstan down --data-dir ${dir?.path}`,
      error,
    );
  if (error instanceof StoreError || error instanceof PkiError) return new UserError(error.message, error);
  const code = (error as NodeJS.ErrnoException).code ?? '';
  if (code === 'EADDRINUSE')
    return new UserError(
      `${errorMessage(error)}: ${describePortHolder((error as { port?: number }).port ?? 0)} listens there; choose another with --secure-port.`,
      error,
    );
  if (code === 'EADDRNOTAVAIL')
    return new UserError(
      `${flags.bindAddress ?? ''} is not an address of this machine: choose one with --bind-address.`,
      error,
    );
  if (code === 'EACCES' && (error as NodeJS.ErrnoException).syscall === 'listen')
    return new UserError(
      `${errorMessage(error)}: ports below 1024 need root; choose another with --secure-port.`,
      error,
    );
  if (['ENOSPC', 'EROFS', 'EACCES', 'EPERM'].includes(code) && dir) return describeDiskError(dir.path, error);
  // Values of flags that the server's parts refuse by name: a mode, a plugin, a key.
  if (
    code.startsWith('ERR_OSSL') ||
    (error instanceof Error &&
      /authorization-|Authorizat|policy file|kubeconfig|audit log|admission plugin|token file|password file|session key|LDAP|Kerberos|keytab|--oidc|--authentication-config/.test(
        error.message,
      ))
  )
    return new UserError(`${errorMessage(error)}.`, error);
  return error;
}
