/**
 * Fills secrets of type kubernetes.io/service-account-token with a token, the cluster's CA and the namespace's name, and deletes those whose account was
 * deleted or recreated. Creates no secrets: pods have had bound tokens since 1.24. After upstream's tokens controller, which also runs
 * as the controller manager instead of its own service account.
 */
import type { Stored } from '#machinery/object.ts';
import type { Secret, ServiceAccount } from '#api/types.ts';
import { isStatusError } from '#machinery/errors.ts';
import { secrets, serviceAccounts } from '#client/refs.ts';
import {
  defineController,
  watch,
  type ControllerDefinition,
  type ReconcileContext,
} from '#runtime/controller.ts';
import { JwtSigner } from '#stdx/jwt.ts';
import { currentRootCA, type RootCA } from '../core/root-ca-certificate-publisher-controller.ts';
import {
  ACCOUNT_NAME,
  ACCOUNT_UID,
  readServiceAccountName,
  secretsByAccount,
  TOKEN_SECRET_TYPE,
  watchTokenSecrets,
} from './token-secrets.ts';

const ISSUER = 'kubernetes/serviceaccount';
const CLAIM = 'kubernetes.io/serviceaccount';

interface ServiceAccountTokenOptions {
  /** The key that signs tokens, PEM: the API server's own key, or one whose public key it accepts. */
  readonly serviceAccountKey: string;
  /** The CA bundle stored as ca.crt, PEM. */
  readonly rootCA: RootCA;
}

export function serviceAccountTokenController({
  serviceAccountKey,
  rootCA,
}: ServiceAccountTokenOptions): ControllerDefinition {
  const signer = new JwtSigner(serviceAccountKey);
  return defineController({
    name: 'serviceaccount-token-controller',
    watches: [
      watch(serviceAccounts),
      // Two keys: the account's secrets, and the account's reference to this secret, which may have been deleted.
      watchTokenSecrets((secret) => {
        const account = readServiceAccountName(secret);
        return account === undefined ? [] : [account, `${account}/${secret.metadata.name}`];
      }),
    ],
    indexes: [secretsByAccount],
    async reconcile(context) {
      const [namespace = '', name = '', secretName] = context.key.split('/');
      if (secretName !== undefined) return removeMention(context, { namespace, name, secretName });
      const held = context.informer(secrets).byIndex(secretsByAccount.name, `${namespace}/${name}`);
      if (held.length === 0) return;
      const account = await findAccount(context, { namespace, name });
      for (const secret of held) {
        if (!account || isOfAnother(secret, account)) await remove(context, secret);
        else await fill(context, { secret, account, signer, rootCA: currentRootCA(rootCA) });
      }
    },
  });
}

/** Reads the cache first; when it has no account, or one with another uid, reads it live. */
async function findAccount(
  { shared, informer }: ReconcileContext,
  name: { readonly namespace: string; readonly name: string },
): Promise<Stored<ServiceAccount> | undefined> {
  const cached = informer(serviceAccounts).get(`${name.namespace}/${name.name}`);
  return cached ?? shared.get(serviceAccounts, name).catch(ifAbsent);
}

function ifAbsent(error: unknown): undefined {
  if (!isStatusError(error, 'NotFound')) throw error;
}

function isOfAnother({ metadata }: Secret, account: Stored<ServiceAccount>): boolean {
  const uid = metadata?.annotations?.[ACCOUNT_UID];
  return uid !== undefined && uid !== '' && uid !== account.metadata?.uid;
}

async function remove({ shared, log }: ReconcileContext, { metadata }: Stored<Secret>): Promise<void> {
  const { name = '', namespace, uid } = metadata ?? {};
  // The cache may be stale: read it live.
  const account = await shared
    .get(serviceAccounts, { namespace, name: metadata?.annotations?.[ACCOUNT_NAME] ?? '' })
    .catch(ifAbsent);
  if (account && !isOfAnother({ metadata } as Secret, account)) return;
  log.info('deleting the token secret of a deleted service account', {
    secret: `${namespace ?? ''}/${name}`,
  });
  await shared
    .delete(secrets, { name, namespace }, { preconditions: uid ? { uid } : {} })
    .catch((error: unknown) => {
      if (!isStatusError(error, 'NotFound') && !isStatusError(error, 'Conflict')) throw error;
    });
}

interface Fill {
  readonly secret: Stored<Secret>;
  readonly account: Stored<ServiceAccount>;
  readonly signer: JwtSigner;
  readonly rootCA: string;
}

async function fill({ shared }: ReconcileContext, { secret, account, signer, rootCA }: Fill): Promise<void> {
  const { name = '', namespace = '' } = secret.metadata ?? {};
  if (isFull(secret, { account, rootCA })) return;
  const current = await shared.get(secrets, { name, namespace }).catch(ifAbsent);
  if (
    !current ||
    current.type !== TOKEN_SECRET_TYPE ||
    current.metadata?.uid !== secret.metadata?.uid ||
    current.metadata?.deletionTimestamp ||
    isFull(current, { account, rootCA })
  )
    return;
  const { name: accountName = '', uid = '' } = account.metadata ?? {};
  const data = { ...current.data };
  data['ca.crt'] = Buffer.from(rootCA).toString('base64');
  data['namespace'] ||= Buffer.from(namespace).toString('base64');
  if (!data['token']) {
    const token = await signer.sign({
      iss: ISSUER,
      [`${CLAIM}/namespace`]: namespace,
      [`${CLAIM}/secret.name`]: name,
      [`${CLAIM}/service-account.name`]: accountName,
      [`${CLAIM}/service-account.uid`]: uid,
      sub: `system:serviceaccount:${namespace}:${accountName}`,
    });
    data['token'] = Buffer.from(token).toString('base64');
  }
  const annotations = { ...current.metadata?.annotations, [ACCOUNT_NAME]: accountName, [ACCOUNT_UID]: uid };
  await shared
    .update(secrets, { ...current, metadata: { ...current.metadata, annotations }, data })
    .catch((error: unknown) => {
      if (!isStatusError(error, 'NotFound')) throw error;
    });
}

function isFull(
  { data = {}, metadata }: Stored<Secret>,
  { account, rootCA }: { readonly account: Stored<ServiceAccount>; readonly rootCA: string },
): boolean {
  return (
    Boolean(data['token'] && data['namespace']) &&
    data['ca.crt'] === Buffer.from(rootCA).toString('base64') &&
    metadata?.annotations?.[ACCOUNT_UID] === account.metadata?.uid
  );
}

/** Removes a deleted secret from the account's list of secrets. */
async function removeMention(
  { shared, informer }: ReconcileContext,
  {
    namespace,
    name,
    secretName,
  }: { readonly namespace: string; readonly name: string; readonly secretName: string },
): Promise<void> {
  if (informer(secrets).get(`${namespace}/${secretName}`)) return;
  const mentions = (account: Stored<ServiceAccount> | undefined): boolean =>
    account?.secrets?.some((one) => one.name === secretName) ?? false;
  if (!mentions(informer(serviceAccounts).get(`${namespace}/${name}`))) return;
  // Another secret of this name may exist by now.
  if (await shared.get(secrets, { namespace, name: secretName }).catch(ifAbsent)) return;
  const account = await shared.get(serviceAccounts, { namespace, name }).catch(ifAbsent);
  if (!account || !mentions(account)) return;
  await shared.update(serviceAccounts, {
    ...account,
    secrets: account.secrets!.filter((one) => one.name !== secretName),
  });
}
