/**
 * How a measurement is called: `npm run NAME -- [options]`. All answer `--help`, and end with 2 and one line where an
 * option is unknown or its value cannot be used.
 */
import { Command, InvalidArgumentError, Option } from 'commander'

/** Without options yet. @param name as in package.json */
export function command(name: string, description: string): Command {
  return new Command(`npm run ${name} --`)
    .description(description)
    .allowExcessArguments(false)
    .exitOverride(({ exitCode }) => process.exit(exitCode === 0 ? 0 : 2))
}

/** For options: a whole number from 0. */
export function natural(text: string): number {
  const value = Number(text)
  if (/^\d+$/.test(text) && Number.isSafeInteger(value)) return value
  throw new InvalidArgumentError('It is a whole number from 0.')
}

/** For options: a number above 0. */
export function positive(text: string): number {
  const value = Number(text)
  if (value > 0 && Number.isFinite(value)) return value
  throw new InvalidArgumentError('It is a number above 0.')
}

/** `--only PATTERN`, a regular expression. @param what is chosen, in the plural */
export function onlyMatching(what: string): Option {
  const parse = (text: string) => {
    try {
      return new RegExp(text)
    } catch (error) {
      throw new InvalidArgumentError((error as Error).message)
    }
  }
  return new Option('--only <pattern>', `${what} whose names match`).argParser(parse).default(/./, 'all')
}

/** An option that takes names, separated by commas. */
export function someOf(flags: string, known: readonly string[]): Option {
  const parse = (text: string) => {
    const names = text.split(',')
    if (names.every((name) => known.includes(name))) return names
    throw new InvalidArgumentError(`Known are ${known.join()}.`)
  }
  return new Option(flags, `some of ${known.join()}`).argParser(parse).default(known, 'all')
}

/** `--seed N`. @param what is the same with the same seed */
export function seedOption(what: string): Option {
  return new Option('--seed <n>', `the same seed makes the same ${what}`)
    .argParser(natural)
    .default(Date.now() % 2 ** 31, 'a new one')
}
