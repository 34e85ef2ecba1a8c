/** What is said of images that are refused. */
import { FacetError } from '../../errors.js'
import type { ImageType } from './sniff.js'

/** The format's name as people write it. */
export function formatName(type: ImageType): string {
  return type === 'webp' ? 'WebP' : type.toUpperCase()
}

/** Damage, or something that no reader is made for. @param why a clause, without a full stop */
export function undecodable(type: ImageType, why: string, cause?: unknown): FacetError {
  const message = `The ${formatName(type)} image cannot be decoded; it may be truncated or damaged (${why}).`
  return new FacetError('undecodable_image', message, cause === undefined ? {} : { cause })
}

/** An intact image of a kind that is not read. @param what completes "The PNG image ..." */
export function unsupported(type: ImageType, what: string): FacetError {
  return new FacetError('undecodable_image', `The ${formatName(type)} image ${what}.`)
}

/** An image that was given up at its deadline. */
export function tooSlow(): FacetError {
  return new FacetError('deadline_exceeded', 'The image took longer to decode than the request may take.')
}

/** @param message whole sentences, which name the option that bounds it, where there is one */
export function tooLarge(message: string): FacetError {
  return new FacetError('image_too_large', message)
}
