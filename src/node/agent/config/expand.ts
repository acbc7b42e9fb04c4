/** $(NAME) in commands, arguments and values. '$$' is a dollar sign; a reference to what is not there stays as it is written. Pure. */
export function expand(text: string, value: (name: string) => string | undefined): string {
  return text.replaceAll(/\$(?:\$|\(([^)]*)\))/g, (whole, name: string | undefined) => {
    if (name === undefined) return '$';
    return value(name) ?? whole;
  });
}
