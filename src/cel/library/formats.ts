/** Named formats of strings, and their validation. */
import {
  validateDNS1035Label,
  validateDNS1123Label,
  validateDNS1123Subdomain,
  validateLabelValue,
  validateQualifiedName,
} from '#machinery/names.ts';
import { STRING_FORMATS } from '#machinery/formats.ts';
import { Optional } from '../datatypes.ts';
import { ONE, PATTERN } from '../estimates.ts';
import { times, TRAVERSAL, type Estimate } from '../sizes.ts';
import { opaque, type Add } from './add.ts';

class CelFormat {
  readonly name: string;
  readonly check: (text: string) => string[];
  constructor(name: string, check: (text: string) => string[]) {
    this.name = name;
    this.check = check;
  }

  equals(other: CelFormat): boolean {
    return this.name === other.name;
  }
}

export const FORMAT_TYPE = opaque('kubernetes.NamedFormat', CelFormat);

const prefixed =
  (check: (text: string) => string[]) =>
  (text: string): string[] =>
    check(text.endsWith('-') ? `${text.slice(0, -1)}a` : text);
const known =
  (name: string) =>
  (text: string): string[] =>
    STRING_FORMATS[name]!(text) ? [] : [`invalid ${name}`];

const FORMATS: Readonly<Record<string, (text: string) => string[]>> = {
  dns1123Label: validateDNS1123Label,
  dns1123Subdomain: validateDNS1123Subdomain,
  dns1035Label: validateDNS1035Label,
  qualifiedName: validateQualifiedName,
  dns1123LabelPrefix: prefixed(validateDNS1123Label),
  dns1123SubdomainPrefix: prefixed(validateDNS1123Subdomain),
  dns1035LabelPrefix: prefixed(validateDNS1035Label),
  labelValue: validateLabelValue,
  uri: known('uri'),
  uuid: known('uuid'),
  byte: known('byte'),
  date: known('date'),
  datetime: known('datetime'),
};

/** Upstream's largest pattern of a format. */
const MAX_NAME_PATTERN = 128;
const validateEstimate: Estimate = ({ args: [text] }) =>
  text ? { cost: times(times(text.size.max, TRAVERSAL), MAX_NAME_PATTERN * PATTERN) } : ONE;

export function addFormats(add: Add): void {
  for (const [name, check] of Object.entries(FORMATS))
    add(`format.${name}(): kubernetes.NamedFormat`, () => new CelFormat(name, check));
  add('format.named(string): optional<kubernetes.NamedFormat>', (name: string) =>
    Object.hasOwn(FORMATS, name) ? Optional.of(new CelFormat(name, FORMATS[name]!)) : Optional.none(),
  );
  add('kubernetes.NamedFormat.validate(string): optional<list<string>>', {
    estimate: validateEstimate,
    run: ({ check }: CelFormat, text: string) => {
      const problems = check(text);
      return problems.length === 0 ? Optional.none() : Optional.of(problems);
    },
  });
}
