print("#{Greet.Whom}")
