/** A backend that verifies a name and a password: the password file, an LDAP directory. */
import type { Authenticated } from '../authenticator.ts';

export interface PasswordCredentials {
  readonly username: string;
  readonly password: string;
}

export interface PasswordBackend {
  /** Of the metric, the log and a session token's claim: 'basic', 'ldap'. */
  readonly name: string;
  /** Incremented when earlier results may be invalid (a file was reloaded): cached results of an earlier generation are dropped. */
  readonly generation: number;
  /**
   * undefined = no such user: the next backend is called. Throws WrongPassword, BackendUnavailable, or GateFull when too many calls are in flight.
   * The password is never empty; no error message contains it.
   */
  check(credentials: PasswordCredentials): Promise<Authenticated | undefined>;
}

/** The user is known here and the password is not his. */
export class WrongPassword extends Error {
  override readonly name = 'WrongPassword';
}

/** No verdict is possible now. */
export class BackendUnavailable extends Error {
  override readonly name = 'BackendUnavailable';
}
