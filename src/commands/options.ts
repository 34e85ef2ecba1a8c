/** What several commands check of their options. */
import { InvalidArgumentError } from 'commander'
import { FAMILY_NAME } from '../manifest/schema.js'
import { BackboneError } from '../onnx/onnx.js'

/** Parses a whole number. @param least the smallest that is taken */
export function count(least: number): (text: string) => number {
  return (text) => {
    const value = Number(text)
    if (!Number.isInteger(value) || value < least)
      throw new InvalidArgumentError(`Not a whole number, ${least} or more.`)
    return value
  }
}

/** @throws BackboneError for a name that no family may have */
export function checkFamilyName(name: string): void {
  if (!FAMILY_NAME.test(name))
    throw new BackboneError(
      `"${name}" cannot be a family's name: 1 to 63 of A-Z a-z 0-9 . _ - and the first a letter or digit. Give one with --name, or choose another folder (--out).`,
    )
}
