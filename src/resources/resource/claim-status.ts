/** The status of a claim: allocation, consumers, and device status from drivers. After upstream's pkg/apis/resource/validation. */
import type { ResourceClaimSpec, ResourceClaimStatus } from '#api/types.ts';
import { validateInterfaceAddress } from '#machinery/ip.ts';
import { checkConditionList, checkImmutable } from '../checks.ts';
import { checkNodeSelector } from '../core/pod/scheduling.ts';
import { type Errors, type Path, STATUS } from '../field-path.ts';
import { checkDriverName } from '../resource-list.ts';
import {
  checkBindingConditions,
  checkConfiguration,
  checkLabel,
  checkList,
  checkPoolName,
  checkRawObject,
  checkSet,
  CONFIG_MAX,
} from './device-checks.ts';
import { checkRequestRef, checkRequestRefs, requestNames } from './requests.ts';

const RESERVED_MAX = 256;
const RESULTS_MAX = 32;
const CONDITIONS_MAX = 8;
const ADDRESSES_MAX = 16;
const INTERFACE_NAME_MAX = 256;
const HARDWARE_ADDRESS_MAX = 128;
const SOURCES = ['FromClaim', 'FromClass'];
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

type Json = Record<string, any>;

interface ClaimStatusUpdate {
  readonly spec: ResourceClaimSpec | undefined;
  readonly status: ResourceClaimStatus;
  readonly stored: ResourceClaimStatus;
  readonly isDeleting: boolean;
}

export function checkClaimStatus(
  { spec, status, stored, isDeleting }: ClaimStatusUpdate,
  errors: Errors,
): void {
  const { allocation, reservedFor = [], devices } = status,
    reservedAt = STATUS.child('reservedFor');
  checkSet(reservedFor, reservedAt, errors, {
    most: RESERVED_MAX,
    check: (user, at) => {
      for (const field of ['resource', 'name', 'uid'] as const)
        if (!user[field]) errors.required(at.child(field));
    },
    key: ({ uid }) => uid,
  });
  const allocated = new Set(
    (allocation?.devices?.results ?? []).map((result) => deviceId(result as unknown as Json)),
  );
  checkSet<Json>(devices as Json[] | undefined, STATUS.child('devices'), errors, {
    most: Infinity,
    check: (device, at) => checkDeviceStatus(device, at, errors, allocated),
    key: deviceId,
  });
  if (reservedFor.length > 0 && !allocation)
    errors.forbidden(reservedAt, 'may not be specified when `allocated` is not set');
  else if (isDeleting && reservedFor.some(({ uid }) => !stored.reservedFor?.some((user) => user.uid === uid)))
    errors.forbidden(
      reservedAt,
      'new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set',
    );
  if (stored.allocation && allocation)
    checkImmutable(allocation, stored.allocation, STATUS.child('allocation'), errors);
  else if (allocation)
    checkAllocation(allocation as unknown as Json, STATUS.child('allocation'), errors, requestNames(spec));
}

/** 'driver/pool/device', and the share ID when there are several. */
function deviceId({ driver, pool, device, shareID }: Json): string {
  return `${driver}/${pool}/${device}${shareID === undefined ? '' : `/${shareID}`}`;
}

function checkAllocation(
  { devices, nodeSelector }: Json,
  path: Path,
  errors: Errors,
  names: ReadonlySet<string>,
): void {
  const at = path.child('devices');
  checkList<Json>(devices?.results, at.child('results'), errors, {
    most: RESULTS_MAX,
    check: (result, where) => {
      checkRequestRef(result['request'] ?? '', where.child('request'), errors, names);
      checkDevice(result, where, errors);
      checkBindingConditions(result, where, errors);
    },
  });
  checkList<Json>(devices?.config, at.child('config'), errors, {
    most: 2 * CONFIG_MAX,
    check: (config, where) => {
      if (!config['source']) errors.required(where.child('source'));
      else if (!SOURCES.includes(config['source']))
        errors.notSupported(where.child('source'), config['source'], SOURCES);
      checkRequestRefs(config['requests'], where.child('requests'), errors, names);
      checkConfiguration(config, where, errors);
    },
  });
  if (nodeSelector) checkNodeSelector(nodeSelector, path.child('nodeSelector'), errors);
}

function checkDevice({ driver, pool, device, shareID }: Json, path: Path, errors: Errors): void {
  checkDriverName(driver, path.child('driver'), errors);
  checkPoolName(pool, path.child('pool'), errors);
  checkLabel(device, path.child('device'), errors);
  if (shareID !== undefined && !UUID.test(shareID))
    errors.invalid(
      path.child('shareID'),
      shareID,
      'uid must be in RFC 4122 normalized form, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx` with lowercase hexadecimal characters',
    );
}

function checkDeviceStatus(device: Json, path: Path, errors: Errors, allocated: ReadonlySet<string>): void {
  checkDevice(device, path, errors);
  if (!allocated.has(deviceId(device)))
    errors.invalid(path, deviceId(device), 'must be an allocated device in the claim');
  const { conditions = [], data, networkData } = device;
  if (conditions.length > CONDITIONS_MAX)
    errors.tooMany(path.child('conditions'), conditions.length, CONDITIONS_MAX);
  checkConditionList(conditions, path.child('conditions'), errors);
  if (data !== undefined) checkRawObject(data, path.child('data'), errors);
  if (!networkData) return;
  const at = path.child('networkData');
  if ((networkData.interfaceName ?? '').length > INTERFACE_NAME_MAX)
    errors.tooLong(at.child('interfaceName'), INTERFACE_NAME_MAX);
  if ((networkData.hardwareAddress ?? '').length > HARDWARE_ADDRESS_MAX)
    errors.tooLong(at.child('hardwareAddress'), HARDWARE_ADDRESS_MAX);
  checkSet<string>(networkData.ips, at.child('ips'), errors, {
    most: ADDRESSES_MAX,
    check: (address, where) => errors.invalidEach(where, address, validateInterfaceAddress(address)),
    key: (address) => address,
  });
}
