/** Signatures of operators for the checker; operators.ts evaluates them. After cel-go's standard declarations. */
import { parseType, splitTypes, type Type } from './type.ts';

interface OperatorOverload {
  readonly params: readonly Type[];
  readonly result: Type;
}

const TIME = 'google.protobuf.Timestamp',
  SPAN = 'google.protobuf.Duration';
const NUMBERS = ['int', 'uint', 'double'];
const same = (types: readonly string[]): string[] => types.map((type) => `${type}, ${type}: ${type}`);
/** Numbers have an order across their types. */
const ORDERED = [
  ...['bool', 'string', 'bytes', TIME, SPAN].map((type) => `${type}, ${type}: bool`),
  ...NUMBERS.flatMap((left) => NUMBERS.map((right) => `${left}, ${right}: bool`)),
];
const EQUAL = ['A, A: bool'];

const DECLARATIONS: Readonly<Record<string, readonly string[]>> = {
  '!_': ['bool: bool'],
  '-_': ['int: int', 'double: double'],
  '_==_': EQUAL,
  '_!=_': EQUAL,
  '_<_': ORDERED,
  '_<=_': ORDERED,
  '_>_': ORDERED,
  '_>=_': ORDERED,
  '@in': ['A, list<A>: bool', 'A, map<A, B>: bool'],
  '_+_': [
    ...same([...NUMBERS, 'string', 'bytes', 'list<A>', SPAN]),
    `${TIME}, ${SPAN}: ${TIME}`,
    `${SPAN}, ${TIME}: ${TIME}`,
  ],
  '_-_': [...same([...NUMBERS, SPAN]), `${TIME}, ${TIME}: ${SPAN}`, `${TIME}, ${SPAN}: ${TIME}`],
  '_*_': same(NUMBERS),
  '_/_': same(NUMBERS),
  '_%_': same(['int', 'uint']),
  '_?_:_': ['bool, A, A: A'],
  '_[_]': [
    'list<A>, int: A',
    'map<A, B>, A: B',
    'optional<list<A>>, int: optional<A>',
    'optional<map<A, B>>, A: optional<B>',
  ],
  '_[?_]': [
    'list<A>, int: optional<A>',
    'map<A, B>, A: optional<B>',
    'optional<list<A>>, int: optional<A>',
    'optional<map<A, B>>, A: optional<B>',
  ],
};

function parseOverload(text: string): OperatorOverload {
  const colon = text.lastIndexOf(': ');
  return {
    params: splitTypes(text.slice(0, colon)).map(parseType),
    result: parseType(text.slice(colon + 2)),
  };
}

/** By cel-go's names of operators. */
export const OPERATOR_OVERLOADS: ReadonlyMap<string, readonly OperatorOverload[]> = new Map(
  Object.entries(DECLARATIONS).map(([name, overloads]) => [name, overloads.map(parseOverload)]),
);
