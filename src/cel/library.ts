/**
 * Kubernetes' CEL functions beside the standard ones: strings, regular expressions (in linear time), lists, sets, URLs, IP addresses, CIDRs,
 * quantities, formats, versions. Other functions do not compile.
 */
import { CONSTRUCTION_FUNCTIONS } from './construction.ts';
import { Library } from './functions.ts';
import type { Add } from './library/add.ts';
import { addAddresses, ADDRESS_TYPES } from './library/addresses.ts';
import { CONVERSIONS, OPTIONALS, SIZES, typeFunctions } from './library/conversions.ts';
import { addFormats, FORMAT_TYPE } from './library/formats.ts';
import { addListExtensions, addLists } from './library/lists.ts';
import { addRegularExpressions } from './library/patterns.ts';
import { addQuantities, QUANTITY_TYPE } from './library/quantities.ts';
import { addSets } from './library/sets.ts';
import { addStrings, TEXTS } from './library/texts.ts';
import { TIMES } from './library/times.ts';
import { addUrls, URL_TYPE } from './library/urls.ts';
import { addVersions, SEMVER_TYPE } from './library/versions.ts';

let plain: Library | undefined, constructing: Library | undefined;

/** The library of all expressions; of those that may make objects and patches, theirs: see construction.ts. */
export function kubernetesLibrary(constructs: boolean): Library {
  plain ??= makeLibrary();
  return constructs
    ? (constructing ??= new Library(plain).add({ functions: CONSTRUCTION_FUNCTIONS }))
    : plain;
}

function makeLibrary(): Library {
  const library = new Library().add({
    types: [URL_TYPE, ...ADDRESS_TYPES, QUANTITY_TYPE, FORMAT_TYPE, SEMVER_TYPE],
  });
  for (const functions of [CONVERSIONS, SIZES, TEXTS, TIMES, OPTIONALS]) library.add({ functions });
  library.add({ functions: typeFunctions((value) => library.typeNameOf(value)) });
  const add: Add = (signature, entry) => void library.add({ functions: { [signature]: entry } });
  for (const part of [
    addStrings,
    addRegularExpressions,
    addLists,
    addListExtensions,
    addSets,
    addUrls,
    addAddresses,
    addQuantities,
    addFormats,
    addVersions,
  ])
    part(add);
  return library;
}
