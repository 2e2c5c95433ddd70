"""Making training data: photos of single entities go in, pictures of several with questions and reasoning come out."""
